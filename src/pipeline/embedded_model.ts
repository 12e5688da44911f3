/** The small model that comes with the package. */
export const EMBEDDED_MODEL: URL = new URL("../../models/emoji/", import.meta.url);
