/**
 * Byte addresses that the host and the kernels agree on. AssemblyScript's own constants lie below CONTROL, and
 * every thread writes the same bytes there when it starts.
 */
export const CONTROL = 65536;
/** Job counter: threads wait for it to change. Each word that threads write has a cache line of its own. */
export const GENERATION = 65536;
/** Tasks not taken yet; zero or less when there are none. */
export const REMAINING = 65600;
/** Tasks not finished yet. */
export const PENDING = 65664;
/** Threads asleep, or about to be. */
export const SLEEPERS = 65728;
/** 1 while the host sleeps until PENDING is 0. */
export const HOST_WAITS = 65792;
/** 1 + number of the thread whose kernel trapped. */
export const FAILED = 65856;
/** Of the current job. */
export const JOB_OP = 65920;
export const JOB_TASKS = 65924;
export const CLOSING = 65928;
/** The kernel's parameter words. */
export const PARAMS = 66560;
export const PARAM_WORDS = 32;
/** Thread i's scratch starts at SCRATCH + i · SCRATCH_BYTES; the activations follow the last one. */
export const SCRATCH = 131072;
export const SCRATCH_BYTES = 4194304;
