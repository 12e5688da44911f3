# workerd serve config.capnp, beside worker.js (worker.ts bundled) and kernels.strict.single.wasm.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    # "private": a model on this machine, too.
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "kernels.strict.single.wasm", wasm = embed "kernels.strict.single.wasm"),
  ],
  bindings = [(name = "MODEL", fromEnvironment = "MODEL")],
  compatibilityDate = "2026-11-01",
);
