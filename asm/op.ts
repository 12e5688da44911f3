/** Numbers of the kernels that the thread pool runs; shared by AssemblyScript (`dispatch.ts`) and the host. */
export enum Op {
  Exit = 0,
  // gemm.ts, conv.ts
  Widen = 1,
  Gemm = 2,
  Conv = 3,
  /** The peak loop of `bench kernels`. */
  Peak = 4,
  // attention.ts
  Attention = 10,
  // norm.ts
  LayerNorm = 20,
  GroupNormStats = 21,
  GroupNormApply = 22,
  GroupNormAffine = 23,
  // elementwise.ts
  Activation = 30,
  Geglu = 31,
  Upsample = 32,
  CopyRows = 33,
  Lincomb = 34,
  Blend = 35,
  // tome.ts
  PackDestinations = 41,
  Match = 42,
  Select = 43,
  ListMembers = 44,
  Merge = 45,
  Unmerge = 46,
}
