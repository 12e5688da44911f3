import assert from "node:assert/strict";
import { test } from "node:test";
import { soak } from "./soak.ts";

// The long form, which watches memory too: `deno task test:soak`.
test("60 requests of 20 clients that behave badly: nothing hangs, nothing breaks", async () => {
  const { outcomes } = await soak({ requests: 60, clients: 20 });
  const kinds = [...outcomes.keys()].map((key) => key.split(":")[0]);
  assert(new Set(kinds).size >= 10, `${kinds}`);
});
