/**
 * Stable Diffusion with Token Merging, wherever JavaScript runs.
 *
 * @example
 * ```ts
 * import { applyPatch, loadPipeline } from "tome-edge";
 *
 * const pipe = await loadPipeline();
 * applyPatch(pipe, { ratio: 0.5 });
 * const { images } = await pipe.generate({ prompt: "a 3d icon of a red apple", seed: 1 });
 * console.log(images[0].width, images[0].height); // 96 96
 * await pipe.dispose();
 * ```
 *
 * @module
 */
export { EMBEDDED_MODEL, type LoadOptions, loadPipeline, Pipeline } from "./pipeline/pipeline.ts";
export type {
  GenerateOptions,
  GenerateResult,
  Image,
  ModelInfo,
  Picture,
  Stats,
  Step,
} from "./pipeline/options.ts";
export type { StoreOptions } from "./checkpoint/chunk_store.ts";
export type { LoadProgress } from "./checkpoint/http_source.ts";
export type { LocationOptions } from "./checkpoint/location.ts";
export { applyPatch, type Patchable, removePatch } from "./tome/patch.ts";
export type { MergeMap } from "./tome/merge_map.ts";
export type { TokenMergingOptions } from "./tome/options.ts";
export {
  bipartiteSoftMatchingRandom2d,
  type SoftMatching,
  type SoftMatchingOptions,
} from "./tome/bipartite_soft_matching.ts";
export { type BackendOptions, createBackend, type DeviceName, type KernelChoice } from "./backend/mod.ts";
export type {
  Activation,
  AttentionOptions,
  Backend,
  ConvOptions,
  Epilogue,
  HostTensor,
  MatchOptions,
  MatchValues,
  MergePlan,
  NormWeight,
  PlanValues,
  Scoped,
  Tensor,
  Weight,
} from "./backend/backend.ts";
export type { WorkKind } from "./backend/count.ts";
export type { NoiseSourceName } from "./samplers/random.ts";
export { AbortError, CheckpointError, DeviceError } from "./errors.ts";
export { VERSION } from "./version.ts";
