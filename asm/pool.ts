import { dispatch } from "./dispatch";
import {
  CLOSING, GENERATION, HOST_WAITS, JOB_OP, JOB_TASKS, PARAMS, PENDING, REMAINING, SLEEPERS,
} from "./layout";

// A job is published by storing its parameters and then REMAINING. A thread takes a task by subtracting one: if
// that gave it a task, the job cannot end before the thread is done with it, so whatever it reads of the job
// afterwards belongs together, however late it came.

/** Looks at GENERATION before a thread goes to sleep: about 20 µs, an operation's host code. */
const SPINS = 8000;
/** Looks at PENDING before the host goes to sleep. */
const HOST_SPINS = 20000;
/** A sleeping thread looks around once in so many ns, should a wake-up have been lost. */
const NAP: i64 = 1000000000;

function takeTasks(scratch: usize): void {
  if (ASC_FEATURE_THREADS) {
    while (atomic.load<i32>(REMAINING) > 0) {
      const left = atomic.sub<i32>(REMAINING, 1);
      if (left <= 0) return;
      dispatch(load<i32>(JOB_OP), PARAMS, load<i32>(JOB_TASKS) - left, scratch);
      if (atomic.sub<i32>(PENDING, 1) == 1 && atomic.load<i32>(HOST_WAITS) != 0) atomic.notify(PENDING, 1);
    }
  }
}

/** A compute thread's life: returns when the host sets CLOSING. */
export function threadMain(scratch: usize): void {
  if (ASC_FEATURE_THREADS) {
    let seen = 0;
    while (atomic.load<i32>(CLOSING) == 0) {
      takeTasks(scratch);
      let spins = SPINS;
      while (atomic.load<i32>(GENERATION) == seen && spins > 0) --spins;
      if (spins == 0) {
        atomic.add<i32>(SLEEPERS, 1);
        atomic.wait<i32>(GENERATION, seen, NAP);
        atomic.sub<i32>(SLEEPERS, 1);
      }
      seen = atomic.load<i32>(GENERATION);
    }
  }
}

/** Runs every task on the calling thread. */
export function runAlone(op: i32, tasks: i32, scratch: usize): void {
  for (let task = 0; task < tasks; ++task) dispatch(op, PARAMS, task, scratch);
}

/** Publishes a job, helps with it, and returns the number of tasks that other threads still have in hand. */
export function runShared(op: i32, tasks: i32, scratch: usize): i32 {
  if (ASC_FEATURE_THREADS) {
    store<i32>(JOB_OP, op);
    store<i32>(JOB_TASKS, tasks);
    atomic.store<i32>(PENDING, tasks);
    atomic.store<i32>(REMAINING, tasks);
    wake();
    takeTasks(scratch);
    return spin();
  }
  runAlone(op, tasks, scratch);
  return 0;
}

/** Waits a little for PENDING to become 0; returns it. For a host that may not sleep (a page's main thread). */
export function spin(): i32 {
  if (ASC_FEATURE_THREADS) {
    for (let i = 0; i < HOST_SPINS; ++i) if (atomic.load<i32>(PENDING) == 0) return 0;
    return atomic.load<i32>(PENDING);
  }
  return 0;
}

/** Whether this build uses relaxed SIMD. */
export function isFast(): bool {
  return ASC_FEATURE_RELAXED_SIMD;
}

/** Ends every thread's loop. */
export function closeThreads(): void {
  if (ASC_FEATURE_THREADS) {
    atomic.store<i32>(CLOSING, 1);
    wake();
  }
}

function wake(): void {
  if (ASC_FEATURE_THREADS) {
    atomic.add<i32>(GENERATION, 1);
    if (atomic.load<i32>(SLEEPERS) > 0) atomic.notify(GENERATION, -1);
  }
}
