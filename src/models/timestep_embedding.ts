import { cos, exp, log, sin } from "../samplers/math.ts";

const LOG_PERIOD = Math.fround(-log(10000));

/**
 * Sinusoidal embedding of a time step, `[channels]`, as diffusers' `get_timestep_embedding`: frequencies fall
 * geometrically from 1 to 1/10000; sines first unless `flipSinToCos`.
 */
export function timestepEmbedding(
  timestep: number,
  { channels, flipSinToCos, freqShift }: { channels: number; flipSinToCos: boolean; freqShift: number },
): Float32Array {
  const half = channels >> 1;
  const out = new Float32Array(channels); // an odd width ends with a zero
  const [sinAt, cosAt] = flipSinToCos ? [half, 0] : [0, half];
  for (let i = 0; i < half; i++) {
    // f32 like PyTorch: at time step 999 rounding the angle matters more than the sine does.
    const frequency = Math.fround(exp(Math.fround(Math.fround(LOG_PERIOD * i) / (half - freqShift))));
    const angle = Math.fround(timestep * frequency);
    out[sinAt + i] = sin(angle);
    out[cosAt + i] = cos(angle);
  }
  return out;
}

/**
 * The embedded guidance scale of a distilled network, `[channels]` (at least 4), as `get_guidance_scale_embedding` of
 * diffusers' pipelines, which embed 1000 · (scale − 1), sines first.
 */
export function guidanceEmbedding(guidanceScale: number, channels: number): Float32Array {
  const half = channels >> 1;
  const out = new Float32Array(channels);
  const w = Math.fround(Math.fround(guidanceScale - 1) * 1000);
  // Rounded to f32 in other places than the time step's: at these angles that shows.
  const step = Math.fround(LOG_PERIOD / (half - 1));
  for (let i = 0; i < half; i++) {
    const angle = Math.fround(w * Math.fround(exp(Math.fround(i * step))));
    out[i] = sin(angle);
    out[half + i] = cos(angle);
  }
  return out;
}
