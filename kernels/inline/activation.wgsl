// act(v) for four f32 values; kind 0 is none, 1 silu, 2 gelu (erf), 3 quick_gelu.
//
// silu v·σ(v) and quick_gelu v·σ(1.702v): the exponent ends at 87, where 1 + e^87 is still in the range (2^126) in
// which WGSL promises a division; the value left over is below 1e-37 · |v|.
// gelu is max(v, 0) − y·Q(y) with y = |v|, Q(y) = erfc(y/√2)/2 ≈ (1 − y²/49)^16 · P(y) up to y = 7 and 0 beyond:
// the approximation of asm/inline/activation.ts, absolute error below 4e-7 up to |v| = 8.

fn sigmoid_of(v: vec4f) -> vec4f {
  return 1.0 / (1.0 + exp(min(-v, vec4f(87.0))));
}

fn gelu4(v: vec4f) -> vec4f {
  let y = min(abs(v), vec4f(7.0));
  var p = vec4f(-5.500107249645225e-07);
  p = fma(p, y, vec4f(1.8250164430355653e-05));
  p = fma(p, y, vec4f(-0.00024826667504385114));
  p = fma(p, y, vec4f(0.0018689596327021718));
  p = fma(p, y, vec4f(-0.008634858764708042));
  p = fma(p, y, vec4f(0.026212677359580994));
  p = fma(p, y, vec4f(-0.062495000660419464));
  p = fma(p, y, vec4f(0.16280943155288696));
  p = fma(p, y, vec4f(-0.3988613486289978));
  p = fma(p, y, vec4f(0.49999502301216125));
  var e = max(1.0 - y * y * 0.02040816326530612, vec4f(0.0));
  e *= e;
  e *= e;
  e *= e;
  e *= e;
  return max(v, vec4f(0.0)) - y * e * p;
}

fn activate(v: vec4f, kind: u32) -> vec4f {
  switch kind {
    case 1u: { return v * sigmoid_of(v); }
    case 2u: { return gelu4(v); }
    case 3u: { return v * sigmoid_of(1.702 * v); }
    default: { return v; }
  }
}
