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
