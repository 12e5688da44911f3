import { prometheus } from "@hono/prometheus";
import process from "node:process";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Service } from "../service.ts";

const PHASES = ["text", "encode", "denoise", "decode"] as const;

/** Prometheus metrics of requests and jobs. */
export function metrics(service: Service) {
  const registers = [new Registry()];
  const { printMetrics, registerMetrics } = prometheus({ registry: registers[0] });
  new Gauge({
    name: "tome_queue_jobs",
    help: "Jobs that run or wait",
    labelNames: ["state"],
    registers,
    collect() {
      this.set({ state: "running" }, service.queue.running ? 1 : 0);
      this.set({ state: "waiting" }, service.queue.waiting.length);
    },
  });
  new Gauge({
    name: "tome_device_info",
    help: "1 for the model that is loaded and the device that it is on",
    labelNames: ["model", "device"],
    registers,
    collect() {
      this.reset();
      const { info } = service.models;
      if (info) this.set({ model: info.name, device: info.device }, 1);
    },
  });
  new Gauge({
    name: "tome_hosted_bytes",
    help: "Bytes of pictures kept for fetching by URL",
    registers,
    collect() {
      this.set(service.files.bytes);
    },
  });
  new Gauge({
    name: "process_resident_memory_bytes",
    help: "Resident memory of the server",
    registers,
    collect() {
      this.set(process.memoryUsage().rss);
    },
  });
  const jobs = new Counter({
    name: "tome_jobs_total",
    help: "Jobs that ended",
    labelNames: ["dialect", "state"],
    registers,
  });
  const pictures = new Counter({ name: "tome_pictures_total", help: "Pictures drawn", registers });
  const tokens = new Counter({
    name: "tome_tokens_total",
    help:
      "Tokens that entered transformer blocks, and those of them that were merged away, per picture and step",
    labelNames: ["kind"],
    registers,
  });
  const phases = new Histogram({
    name: "tome_phase_seconds",
    help: "Seconds of a job's phases",
    labelNames: ["phase"],
    buckets: [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300],
    registers,
  });
  const waits = new Histogram({
    name: "tome_wait_seconds",
    help: "Seconds that jobs waited for their turn",
    buckets: [0.01, 0.1, 1, 3, 10, 30, 100, 300],
    registers,
  });
  service.onEnd.add((job) => {
    jobs.inc({ dialect: job.options.dialect, state: job.state });
    if (job.startedAt !== undefined) waits.observe((job.startedAt - job.createdAt) / 1000);
    if (!job.result) return;
    pictures.inc(job.result.pictures.length);
    for (const stats of job.result.stats) {
      for (const phase of PHASES) phases.observe({ phase }, stats.seconds[phase]);
      for (const { before, after } of stats.tokens) {
        tokens.inc({ kind: "seen" }, before * stats.networkCalls);
        tokens.inc({ kind: "merged" }, (before - after) * stats.networkCalls);
      }
    }
  });
  return { printMetrics, registerMetrics };
}
