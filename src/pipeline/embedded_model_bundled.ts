/** The small model, which lies beside a bundle: takes the place of `embedded_model.ts` there. See tools/build. */
export const EMBEDDED_MODEL: URL = new URL("./models/emoji/", import.meta.url);
