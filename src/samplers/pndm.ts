/**
 * PNDM (Liu et al., arXiv 2202.09778): linear multistep on ε (PLMS), begun with Runge–Kutta steps of four network
 * calls each as in the paper, or, with `skip_prk_steps` as Stable Diffusion's configurations have it, with one
 * corrected Euler step of two.
 *
 * @module
 */
import type { RunOptions, Sampler, StepOutput, Term } from "./contract.ts";
import { combine, predictNoise, predictX0 } from "./predict.ts";
import { spacedTimesteps } from "./schedule.ts";
import { alphaTable, type SamplerConfig } from "./settings.ts";

/** Network calls of the three Runge–Kutta steps. */
const PRK_CALLS = 12;

// Adams–Bashforth, newest first.
const MULTISTEP = [
  [1],
  [3 / 2, -1 / 2],
  [23 / 12, -16 / 12, 5 / 12],
  [55 / 24, -59 / 24, 37 / 24, -9 / 24],
];

export function createPndm(config: SamplerConfig, { steps, skip }: RunOptions): Sampler {
  const type = config.prediction_type;
  if (type === "sample") {
    throw new RangeError(`Cannot sample with pndm: expected a prediction_type of epsilon or v_prediction`);
  }
  if (config.rescale_betas_zero_snr) {
    throw new RangeError(`Cannot sample with pndm: expected rescale_betas_zero_snr false, found true`);
  }
  const { alphas, alphaAt } = alphaTable(config);
  const finalAlpha = config.set_alpha_to_one ? 1 : alphas[0];
  const stride = Math.floor(alphas.length / steps);
  const plain = spacedTimesteps(steps, {
    trainSteps: alphas.length,
    spacing: config.timestep_spacing,
    offset: config.steps_offset,
  });
  const full = config.skip_prk_steps ? repeatSecond(plain) : withRungeKutta(plain, stride >> 1);
  // diffusers' quirk, kept for its pictures: image to image cuts this list, repetition and all, but formulas still go
  // by the call's number. So a cut of two or more starts one timestep early, its second call counts as the
  // repeated one at whatever timestep, and Runge–Kutta steps start from the noise levels of the uncut list.
  const timesteps = full.slice(skip);
  const prkCalls = config.skip_prk_steps ? 0 : PRK_CALLS;

  /** x from noise level `t` to `next` along the ε that the model terms sum to (the paper's equation 9). */
  function transfer<T>(t: number, next: number, x: T, model: readonly Term<T>[]): Term<T>[] {
    const alpha = alphaAt(t);
    const alphaNext = next >= 0 ? alphas[next] : finalAlpha;
    const epsilon = predictNoise(type, alpha);
    const gain = -(alphaNext - alpha) /
      (alpha * Math.sqrt(1 - alphaNext) + Math.sqrt(alpha * (1 - alpha) * alphaNext));
    return [
      [Math.sqrt(alphaNext / alpha) + gain * epsilon.x, x],
      ...model.map(([c, tensor]) => [gain * epsilon.out * c, tensor] as const),
    ];
  }

  /** Runge–Kutta. History: the ε of finished steps, then this step's first x and its outputs so far. */
  function rungeKutta<T>(
    index: number,
    { x, modelOutput, history }: { x: T; modelOutput: T; history: readonly T[] },
  ): { terms: Term<T>[]; history: T[] } {
    const done = index >> 2, stage = index & 3;
    const finished = history.slice(0, done);
    const [start = x, ...outputs] = history.slice(done);
    outputs.push(modelOutput);
    const next = timesteps[index] - (index % 2 ? 0 : stride >> 1);
    const model: Term<T>[] = stage < 3
      ? [[1, modelOutput]]
      : outputs.map((output, i) => [i === 0 || i === 3 ? 1 / 6 : 1 / 3, output]);
    return {
      terms: transfer(full[done * 4], next, start, model),
      history: stage < 3 ? [...finished, start, ...outputs] : [...finished, outputs[0]],
    };
  }

  /** Multistep. History: up to three ε, oldest first; after the first call, the x that it started from and its ε. */
  function multistep<T>(
    index: number,
    { x, modelOutput, history }: { x: T; modelOutput: T; history: readonly T[] },
  ): { terms: Term<T>[]; history: T[] } {
    const t = timesteps[index];
    if (index === 1) {
      // The first step again, with the mean of ε at its two ends.
      const [start, first] = history;
      return { terms: transfer(t + stride, t, start, [[0.5, modelOutput], [0.5, first]]), history: [first] };
    }
    const outputs = [modelOutput, ...history.slice(-3).reverse()];
    const model = MULTISTEP[outputs.length - 1].map((c, i) => [c, outputs[i]] as const);
    return {
      terms: transfer(t, t - stride, x, model),
      history: index === 0 ? [x, modelOutput] : outputs.slice(0, 3).reverse(),
    };
  }

  return {
    name: "pndm",
    timesteps,
    initNoiseSigma: 1,
    scaleInput: () => 1,
    addNoise(index) {
      if (index >= timesteps.length) return [1, 0];
      const alpha = alphaAt(timesteps[index]);
      return [Math.sqrt(alpha), Math.sqrt(1 - alpha)];
    },
    noisePerStep: () => false,
    historyLength(index) {
      if (index < prkCalls) return (index >> 2) + (index & 3 ? 1 + (index & 3) : 0);
      if (prkCalls > 0) return 3;
      return index === 1 ? 2 : Math.min(Math.max(index - 1, 0), 3);
    },
    step(lincomb, { index, x, modelOutput, history = [] }): StepOutput<typeof x> {
      const x0 = predictX0(type, alphaAt(timesteps[index]));
      const method = index < prkCalls ? rungeKutta : multistep;
      const next = method(index, { x, modelOutput, history });
      return {
        x: combine(lincomb, next.terms),
        denoised: combine(lincomb, [[x0.x, x], [x0.out, modelOutput]]),
        history: next.history,
      };
    },
  };
}

function repeatSecond(timesteps: number[]): number[] {
  return timesteps.length === 1 ? timesteps : [timesteps[0], timesteps[1], ...timesteps.slice(1)];
}

/** Each Runge–Kutta step asks at its start, twice in its middle, and at its end, where the next one starts. */
function withRungeKutta(timesteps: number[], half: number): number[] {
  if (timesteps.length < 4) {
    throw new RangeError(
      `Cannot sample with pndm: expected at least 4 steps, found ${timesteps.length} (or set skip_prk_steps)`,
    );
  }
  const prk: number[] = [];
  for (let i = 0; i < 3; i++) {
    const end = timesteps[i + 1];
    prk.push(timesteps[i], end + half, end + half, end);
  }
  return [...prk, ...timesteps.slice(3)];
}
