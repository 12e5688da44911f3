/** Exports of every kernels*.wasm; see asm/README.md. Written by asm/build.ts. */
export interface Kernels {
  activationTask(a0: number, a1: number, a2: number): void;
  attentionMix(a0: number, a1: number, a2: number, a3: number, a4: number, a5: number): void;
  attentionScores(a0: number, a1: number, a2: number, a3: number, a4: number, a5: number, a6: number): void;
  attentionSoftmax(a0: number, a1: number, a2: number, a3: number, a4: number, a5: number, a6: number): void;
  attentionTask(a0: number, a1: number, a2: number): void;
  blendTask(a0: number, a1: number, a2: number): void;
  closeThreads(): void;
  convTask(a0: number, a1: number, a2: number): void;
  copyRowsTask(a0: number, a1: number, a2: number): void;
  gegluTask(a0: number, a1: number, a2: number): void;
  gemmTask(a0: number, a1: number, a2: number): void;
  groupNormAffineTask(a0: number, a1: number, a2: number): void;
  groupNormApplyTask(a0: number, a1: number, a2: number): void;
  groupNormStatsTask(a0: number, a1: number, a2: number): void;
  isFast(): number;
  layerNormTask(a0: number, a1: number, a2: number): void;
  lincombTask(a0: number, a1: number, a2: number): void;
  listMembersTask(a0: number, a1: number, a2: number): void;
  matchTask(a0: number, a1: number, a2: number): void;
  matchTile(a0: number, a1: number, a2: number, a3: number, a4: number): void;
  mergeTask(a0: number, a1: number, a2: number): void;
  packDestinationsTask(a0: number, a1: number, a2: number): void;
  peakTask(a0: number, a1: number, a2: number): void;
  product(a0: number, a1: number, a2: number, a3: number): void;
  runAlone(a0: number, a1: number, a2: number): void;
  runShared(a0: number, a1: number, a2: number): number;
  selectTask(a0: number, a1: number, a2: number): void;
  spin(): number;
  threadMain(a0: number): void;
  unmergeTask(a0: number, a1: number, a2: number): void;
  upsampleTask(a0: number, a1: number, a2: number): void;
  widenTask(a0: number, a1: number, a2: number): void;
}
