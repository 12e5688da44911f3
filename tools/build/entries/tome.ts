/**
 * Token merging alone, for any transformer: matching, merging and unmerging of plain arrays, on the CPU and the GPU.
 *
 * @module
 */
export { type BackendOptions, createBackend, type DeviceName } from "../../../src/backend/mod.ts";
export type { Backend, MergePlan, Tensor } from "../../../src/backend/backend.ts";
export { DeviceError } from "../../../src/errors.ts";
export {
  bipartiteSoftMatchingRandom2d,
  type SoftMatching,
  type SoftMatchingOptions,
} from "../../../src/tome/bipartite_soft_matching.ts";
export { VERSION } from "../../../src/version.ts";
