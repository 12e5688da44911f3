// Names, not `*`: an exported @inline constant stops Binaryen.
export { closeThreads, isFast, runAlone, runShared, spin, threadMain } from "./pool";
export { gemmTask, peakTask, product, widenTask } from "./gemm";
export { convTask } from "./conv";
export {
  listMembersTask, matchTask, matchTile, mergeTask, packDestinationsTask, selectTask, unmergeTask,
} from "./tome";
export { groupNormAffineTask, groupNormApplyTask, groupNormStatsTask, layerNormTask } from "./norm";
export { activationTask, blendTask, copyRowsTask, gegluTask, lincombTask, upsampleTask } from "./elementwise";
export { attentionMix, attentionScores, attentionSoftmax, attentionTask } from "./attention";
