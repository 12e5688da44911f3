import { createRoute, z } from "@hono/zod-openapi";
import { GenerateSchema, JobSchema, ProblemSchema, ResultSchema } from "./schemas.ts";

const JobParams = z.object({ id: z.string().openapi({ description: "As `tome-edge-job` said" }) });
const problems = (...statuses: number[]) =>
  Object.fromEntries(
    statuses.map((status) => [status, {
      description: "What is wrong",
      content: { "application/problem+json": { schema: ProblemSchema } },
    }]),
  );

const generateRoute = createRoute({
  method: "post",
  path: "/generate",
  summary: "Draw pictures",
  description:
    "By `Accept`: `application/json`; `text/event-stream` for `queued`, `step`, `done` and `error` events; " +
    "otherwise the picture itself. `Prefer: respond-async` answers at once with the job. A client that goes away " +
    "cancels its job, unless others follow it.",
  request: { body: { required: true, content: { "application/json": { schema: GenerateSchema } } } },
  responses: {
    200: {
      description: "The picture, or what `Accept` asks for",
      headers: z.object({
        "tome-edge-job": z.string(),
        "tome-edge-seed": z.string(),
        "tome-edge-drawn": z.string().openapi({ description: "The size that the network drew" }),
        "tome-edge-warnings": z.string().optional(),
      }),
      content: {
        "image/png": { schema: z.string().openapi({ format: "binary" }) },
        "image/jpeg": { schema: z.string().openapi({ format: "binary" }) },
        "image/webp": { schema: z.string().openapi({ format: "binary" }) },
        "application/json": { schema: ResultSchema },
        "text/event-stream": { schema: z.string() },
      },
    },
    202: {
      description: "The job, to be followed at `Location`",
      content: { "application/json": { schema: JobSchema } },
    },
    ...problems(400, 401, 404, 406, 409, 413, 415, 429, 503, 504),
  },
});

const jobsRoute = createRoute({
  method: "get",
  path: "/jobs",
  summary: "The jobs that are known: those that wait or run, and those that ended of late",
  responses: {
    200: {
      description: "Without their results",
      content: { "application/json": { schema: z.object({ jobs: z.array(JobSchema) }) } },
    },
  },
});

const jobRoute = createRoute({
  method: "get",
  path: "/jobs/{id}",
  summary: "A job, or with `Accept: text/event-stream` its events",
  request: { params: JobParams },
  responses: {
    200: {
      description: "The job",
      content: { "application/json": { schema: JobSchema }, "text/event-stream": { schema: z.string() } },
    },
    ...problems(404),
  },
});

const cancelRoute = createRoute({
  method: "delete",
  path: "/jobs/{id}",
  summary: "Stop a job within one step",
  request: { params: JobParams },
  responses: {
    200: {
      description: "The job once it is over; one that was over stays as it is",
      content: { "application/json": { schema: JobSchema } },
    },
    ...problems(404),
  },
});

const modelsRoute = createRoute({
  method: "get",
  path: "/models",
  summary: "The models that can be asked for",
  responses: {
    200: {
      description: "By name; the one that is loaded has its sizes and defaults",
      content: {
        "application/json": {
          schema: z.object({
            models: z.array(z.object({
              id: z.string(),
              loaded: z.boolean(),
              info: z.unknown().optional(),
            })),
          }),
        },
      },
    },
  },
});

/** What the document says of each route. */
export const ROUTES = [generateRoute, jobsRoute, jobRoute, cancelRoute, modelsRoute];
