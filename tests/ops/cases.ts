/**
 * Every operation at sizes below, at and above every tile of every backend, by family.
 *
 * @module
 */
import type { Backend, Tensor } from "../../src/backend/backend.ts";
import type { Tolerance } from "../support/assert_close.ts";
import { randomArray, randomIntegers } from "../support/random.ts";
import { EXACT, type OpCase, opCase } from "./op_case.ts";

const ROWS = [1, 5, 6, 7, 47, 48, 49, 97];
const CHANNELS = [1, 3, 4, 7, 8, 9, 16, 31, 64, 320];
const DEPTHS = [1, 3, 8, 320, 321, 641];
const KINDS = ["silu", "gelu", "quick_gelu"] as const;

const linear = [
  ...[
    ...ROWS.flatMap((rows) => CHANNELS.map((cout) => [rows, 8, cout])),
    ...ROWS.flatMap((rows) => DEPTHS.map((cin) => [rows, cin, 31])),
    ...CHANNELS.flatMap((cout) => DEPTHS.map((cin) => [49, cin, cout])),
  ].map(([rows, cin, cout]) =>
    opCase(`linear ${rows}×${cin}×${cout}`, [[rows, cin]], (b, [x], w) => b.linear(x, w.linear(cin, cout)))
  ),
  ...[[7, 9, 31], [49, 321, 64], [97, 320, 320]].flatMap(([rows, cin, cout]) => [
    ...(["F16", "BF16"] as const).map((dtype) =>
      opCase(
        `linear ${dtype} ${rows}×${cin}×${cout}`,
        [[rows, cin]],
        (b, [x], w) => b.linear(x, w.linear(cin, cout, { dtype })),
      )
    ),
    opCase(
      `linear without bias ${rows}×${cin}×${cout}`,
      [[rows, cin]],
      (b, [x], w) => b.linear(x, w.linear(cin, cout, { bias: false })),
    ),
    ...KINDS.map((activation) =>
      opCase(
        `linear ${activation} + residual, row bias ${rows}×${cin}×${cout}`,
        [[2, rows, cin], [2, rows, cout], [2, cout]],
        (b, [x, residual, rowBias], w) => b.linear(x, w.linear(cin, cout), { activation, residual, rowBias }),
      )
    ),
  ]),
  opCase(
    "linear with its input as residual",
    [[49, 64]],
    (b, [x], w) => b.linear(x, w.linear(64, 64), { residual: x }),
  ),
];

const VARIANTS = [
  { kernel: 1 },
  { kernel: 3 },
  { kernel: 3, stride: 2 },
  { kernel: 3, stride: 2, pad: [0, 0, 1, 1] },
  { kernel: 3, pad: [0, 1, 1, 1] },
] as const;

const conv2d = [
  ...VARIANTS.flatMap(({ kernel, ...options }) =>
    [[1, 1, 1], [2, 2, 3], [1, 7, 7], [2, 5, 9], [1, 6, 16], [1, 13, 12]].flatMap(([batch, height, width]) =>
      [[1, 1], [3, 4], [4, 7], [8, 8], [9, 16], [31, 9], [64, 31], [16, 64], [320, 8], [4, 320]].flatMap((
        [cin, cout],
      ) =>
        "pad" in options && height === 1 ? [] : [opCase(
          `conv2d ${kernel}×${kernel} ${JSON.stringify(options)} ${batch}×${height}×${width} ${cin}→${cout}`,
          [[batch, height, width, cin]],
          (b, [x], w) => b.conv2d(x, w.conv(cin, cout, kernel), options),
        )]
      )
    )
  ),
  ...KINDS.map((activation) =>
    opCase(
      `conv2d ${activation} + residual, row bias`,
      [[2, 7, 9, 16], [2, 7, 9, 31], [2, 31]],
      (b, [x, residual, rowBias], w) => b.conv2d(x, w.conv(16, 31, 3), { activation, residual, rowBias }),
    )
  ),
  ...(["F16", "BF16"] as const).map((dtype) =>
    opCase(
      `conv2d ${dtype}, no bias`,
      [[1, 7, 9, 33]],
      (b, [x], w) => b.conv2d(x, w.conv(33, 64, 3, { dtype, bias: false })),
    )
  ),
];

/** Where all values of a group are nearly alike, 1/σ is large, up to 1/√eps ≈ 316, and so is the rounding error. */
const ALIKE = { atol: 1e-4, rtol: 1e-5 };

const norms = [
  ...[[1, 1], [3, 1], [4, 2], [7, 7], [8, 4], [12, 4], [31, 1], [64, 32], [320, 32]].flatMap((
    [channels, groups],
  ) =>
    [1, 5, 6, 48, 97, channels < 16 ? 1025 : 129].flatMap((tokens) =>
      [false, true].flatMap((silu) => {
        const label = `groups of ${channels / groups}, ${channels} channels, ${tokens} tokens${
          silu ? ", silu" : ""
        }`;
        const options = { groups, eps: 1e-5, silu };
        const tolerance = tokens * channels / groups < 8 ? ALIKE : undefined;
        return [
          opCase(
            `groupNorm ${label}`,
            [[2, tokens, channels]],
            (b, [x], w) => b.groupNorm(x, w.norm(channels), options),
            { tolerance },
          ),
          opCase(
            `affine ${label}`,
            [[2, tokens, channels]],
            (b, [x], w) => b.affine(x, b.groupNormAffine(x, w.norm(channels), options), { silu }),
            { tolerance },
          ),
        ];
      })
    )
  ),
  ...ROWS.flatMap((rows) =>
    CHANNELS.map((channels) =>
      opCase(
        `layerNorm ${rows}×${channels}`,
        [[rows, channels]],
        (b, [x], w) => b.layerNorm(x, w.norm(channels), { eps: 1e-5 }),
        { tolerance: channels < 8 ? ALIKE : undefined },
      )
    )
  ),
  opCase(
    "groupNorm of a feature map",
    [[2, 5, 7, 12]],
    (b, [x], w) => b.groupNorm(x, w.norm(12), { groups: 3, eps: 1e-6 }),
  ),
  opCase(
    "groupNorm of values far from zero",
    [[2, 97, 16]],
    (b, [x], w) => b.groupNorm(x, w.norm(16), { groups: 4, eps: 1e-5 }),
    {
      fill: () => randomArray(2 * 97 * 16, 5).map((v) => 30 + v),
      tolerance: { atol: 3e-5, rtol: 1e-5 }, // an input of 30 ± 1 carries 2e-6 of its own rounding, times γ/σ
    },
  ),
];

const attention = [
  ...[[1, 4], [2, 8], [3, 12], [8, 40], [2, 32], [1, 64], [2, 80], [1, 160], [1, 512]].flatMap((
    [heads, depth],
  ) =>
    [[1, 1], [1, 7], [5, 77], [6, 6], [7, 64], [48, 5], [49, 97], [97, 200]].map(([n, m]) =>
      opCase(
        `attention ${heads} heads of ${depth}, ${n} queries, ${m} keys`,
        [[2, n, heads * depth], [2, m, heads * depth], [2, m, heads * depth]],
        (b, [q, k, v]) => b.attention(q, k, v, { heads }),
      )
    )
  ),
  ...[1, 5, 6, 7, 48, 77, 97].flatMap((n) =>
    [[12, 64], [2, 40]].map(([heads, depth]) =>
      opCase(
        `causal attention ${heads} heads of ${depth}, ${n} tokens`,
        [[1, n, heads * depth], [1, n, heads * depth], [1, n, heads * depth]],
        (b, [q, k, v]) => b.attention(q, k, v, { heads, causal: true }),
      )
    )
  ),
  opCase(
    "attention on columns of one matrix",
    [[2, 49, 120]],
    (b, [x]) => b.attention(b.columns(x, 0, 40), b.columns(x, 40, 80), b.columns(x, 80, 120), { heads: 1 }),
  ),
  opCase(
    "attention with a scale of its own, and scores up to ±100",
    [[1, 49, 32], [1, 97, 32], [1, 97, 32]],
    (b, [q, k, v]) => b.attention(q, k, v, { heads: 1, scale: 4 }),
    { tolerance: { atol: 3e-5, rtol: 1e-5 } }, // a score of 100 is rounded to 1e-5, and its exponential by as much
  ),
];

const elementwise = [
  ...ROWS.flatMap((rows) =>
    CHANNELS.flatMap((channels) => {
      const size = `${rows}×${channels}`, shape = [rows, channels];
      return [
        ...KINDS.map((kind) => opCase(`${kind} ${size}`, [shape], (b, [x]) => b.activation(x, kind))),
        opCase(`geglu ${size}`, [[rows, 2 * channels]], (b, [x]) => b.geglu(x)),
        opCase(`concat ${size}`, [shape, [rows, 5]], (b, [x, y]) => b.concat(x, y), { tolerance: EXACT }),
        opCase(`stack ${size}`, [shape, [2, channels], shape], (b, xs) => b.stack(xs), { tolerance: EXACT }),
        opCase(`lincomb ${size}`, [shape, shape], (b, [x, y]) => b.lincomb([[0.3, x], [-1.7, y]])),
        opCase(`blend ${size}`, [[rows, 1], shape, shape], (b, [mask, x, y]) => b.blend(mask, x, y)),
        opCase(`write ${size}`, [shape, shape], (b, [x, y]) => {
          const target = b.empty([rows, 2 * channels]);
          b.write(b.columns(target, channels, 2 * channels), x);
          b.write(b.columns(target, 0, channels), y);
          return target;
        }, { tolerance: EXACT }),
      ];
    })
  ),
  ...[1, 3, 4, 5, 6].map((terms) =>
    opCase(
      `lincomb of ${terms}`,
      Array(terms).fill([7, 9]),
      (b, xs) => b.lincomb(xs.map((x, i) => [i - 1.5, x])),
    )
  ),
  ...[[1, 1, 1], [2, 2, 3], [1, 5, 4], [2, 7, 9]].flatMap(([batch, h, w]) =>
    [1, 4, 9, 320].flatMap((channels) =>
      [[2 * h, 2 * w], [2 * h - 1, 2 * w - 1], [2 * h, 2 * w - 1]].map(([height, width]) =>
        opCase(
          `upsample ${h}×${w} to ${height}×${width}, ${channels} channels`,
          [[batch, h, w, channels]],
          (b, [x]) => b.upsample(x, height, width),
          { tolerance: EXACT },
        )
      )
    )
  ),
  ...KINDS.map((kind) =>
    opCase(`${kind} of large and tiny values`, [[1, 8]], (b, [x]) => b.activation(x, kind), {
      fill: () => Float32Array.of(-1e30, -100, -20, -1e-30, 0, 1e-30, 100, 1e30),
    })
  ),
];

interface Grid {
  height: number;
  width: number;
  sx: number;
  sy: number;
}

const GRIDS: Grid[] = [
  { height: 2, width: 2, sx: 2, sy: 2 },
  { height: 8, width: 8, sx: 2, sy: 2 },
  { height: 9, width: 7, sx: 2, sy: 2 },
  { height: 12, width: 10, sx: 4, sy: 2 },
  { height: 10, width: 13, sx: 1, sy: 2 },
  { height: 24, width: 24, sx: 2, sy: 2 },
];

const counts = ({ height, width, sx, sy }: Grid) => {
  const destinations = Math.floor(height / sy) * Math.floor(width / sx);
  return { tokens: height * width, destinations, sources: height * width - destinations };
};

/** Rows of a merge that any tokens may share: every row gets one token, the others follow at random. */
function randomRows(batch: number, tokens: number, kept: number): Int32Array {
  const rowOf = randomIntegers(batch * tokens, kept, 9);
  for (let b = 0; b < batch; b++) {
    for (let row = 0; row < kept; row++) rowOf[b * tokens + tokens - 1 - row] = row;
  }
  return rowOf;
}

async function rowsOf(b: Backend, metric: Tensor, options: Parameters<Backend["match"]>[1]) {
  return (await b.readPlan(b.match(metric, options))).rowOf;
}

const tome = [
  ...GRIDS.flatMap((grid) => {
    const { tokens, destinations, sources } = counts(grid);
    const size = `${grid.height}×${grid.width}, cells ${grid.sy}×${grid.sx}`;
    const randIdx = randomIntegers(2 * destinations, grid.sx * grid.sy, 3);
    return [1, 3, 8, 9, 40].flatMap((channels) => [
      ...[undefined, randIdx].flatMap((randIdx) => [
        opCase(
          `nodeMax ${size}, ${channels} channels`,
          [[2, tokens, channels]],
          async (b, [x]) => (await b.bestMatches(x, { ...grid, randIdx })).nodeMax,
        ),
        // With one channel every cosine is ±1, so that rounding would decide; ties have a case of their own.
        ...(channels === 1 ? [] : [
          opCase(
            `nodeIdx ${size}, ${channels} channels`,
            [[2, tokens, channels]],
            async (b, [x]) => (await b.bestMatches(x, { ...grid, randIdx })).nodeIdx,
            { tolerance: EXACT },
          ),
          ...[1, sources >> 1, sources].filter((r) => r > 0).map((r) =>
            opCase(
              `match ${size}, ${channels} channels, r ${r}`,
              [[2, tokens, channels]],
              (b, [x]) => rowsOf(b, x, { ...grid, r, randIdx }),
              { tolerance: EXACT },
            )
          ),
        ]),
      ]),
      ...[1, tokens >> 1, tokens - 1].map((merged) => {
        const kept = tokens - merged, rowOf = randomRows(2, tokens, kept);
        const plan = (b: Backend) => b.planFrom({ rowOf }, { batch: 2, tokens, merged });
        return [
          opCase(
            `merge ${tokens} less ${merged}, ${channels} channels`,
            [[2, tokens, channels]],
            (b, [x]) => b.merge(plan(b), x),
          ),
          opCase(
            `unmerge ${tokens} less ${merged}, ${channels} channels`,
            [[2, kept, channels]],
            (b, [y]) => b.unmerge(plan(b), y),
            { tolerance: EXACT },
          ),
          opCase(
            `unmerge + residual ${tokens} less ${merged}, ${channels} channels`,
            [[2, kept, channels], [2, tokens, channels]],
            (b, [y, residual]) => b.unmerge(plan(b), y, residual),
          ),
        ];
      }).flat(),
    ]);
  }),
  // Tokens along the axes, times powers of two, or of no length: every cosine is exactly 0 or ±1, so ties abound.
  ...[1, 20, 60].map((r) => {
    const grid = { height: 12, width: 7, sx: 2, sy: 2, r };
    return opCase(`match with ties, r ${r}`, [[2, 84, 8]], (b, [x]) => rowsOf(b, x, grid), {
      tolerance: EXACT,
      fill: () => {
        const axes = randomIntegers(2 * 84, 9, 4), values = new Float32Array(2 * 84 * 8);
        for (const [n, axis] of axes.entries()) if (axis < 8) values[n * 8 + axis] = (-2) ** (n % 5 - 2);
        return values;
      },
    });
  }),
];

const within = (tolerance: Tolerance, cases: OpCase[]) => cases.map((c) => ({ tolerance, ...c }));

export const FAMILIES: Record<string, OpCase[]> = {
  linear,
  conv2d,
  norms,
  // Weighted means of at most 200 values; their scores are sums of up to 512 products.
  attention: within({ atol: 2e-6, rtol: 2e-6 }, attention),
  // A few roundings of values of size 1 to 10, exponentials good to 2 ulps; means of many tokens.
  elementwise: within({ atol: 1e-6, rtol: 1e-6 }, elementwise),
  tome: within({ atol: 1e-6, rtol: 1e-6 }, tome),
};
