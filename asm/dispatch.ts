import { Op } from "./op";
import { attentionTask } from "./attention";
import { gemmTask, peakTask, widenTask } from "./gemm";
import { convTask } from "./conv";
import { groupNormAffineTask, groupNormApplyTask, groupNormStatsTask, layerNormTask } from "./norm";
import { activationTask, blendTask, copyRowsTask, gegluTask, lincombTask, upsampleTask } from "./elementwise";
import {
  listMembersTask, matchTask, mergeTask, packDestinationsTask, selectTask, unmergeTask,
} from "./tome";

/**
 * Runs one task of a kernel. The kernels are exports of the module, which keeps Binaryen from inlining them
 * here: a thread never leaves the loop that calls this, and V8 replaces code only when it is entered anew.
 */
export function dispatch(op: i32, p: usize, task: i32, scratch: usize): void {
  switch (op) {
    case Op.Widen: return widenTask(p, task, scratch);
    case Op.Gemm: return gemmTask(p, task, scratch);
    case Op.Conv: return convTask(p, task, scratch);
    case Op.Peak: return peakTask(p, task, scratch);
    case Op.PackDestinations: return packDestinationsTask(p, task, scratch);
    case Op.Match: return matchTask(p, task, scratch);
    case Op.Select: return selectTask(p, task, scratch);
    case Op.ListMembers: return listMembersTask(p, task, scratch);
    case Op.Merge: return mergeTask(p, task, scratch);
    case Op.Unmerge: return unmergeTask(p, task, scratch);
    case Op.Attention: return attentionTask(p, task, scratch);
    case Op.LayerNorm: return layerNormTask(p, task, scratch);
    case Op.GroupNormStats: return groupNormStatsTask(p, task, scratch);
    case Op.GroupNormAffine: return groupNormAffineTask(p, task, scratch);
    case Op.GroupNormApply: return groupNormApplyTask(p, task, scratch);
    case Op.Activation: return activationTask(p, task, scratch);
    case Op.Geglu: return gegluTask(p, task, scratch);
    case Op.Upsample: return upsampleTask(p, task, scratch);
    case Op.CopyRows: return copyRowsTask(p, task, scratch);
    case Op.Lincomb: return lincombTask(p, task, scratch);
    case Op.Blend: return blendTask(p, task, scratch);
    default: unreachable();
  }
}
