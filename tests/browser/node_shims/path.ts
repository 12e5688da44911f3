export const join = (...parts: string[]) => parts.join("/").replace(/\/+/g, "/");
export const resolve = (path: string) => path.replace(/(.)\/$/, "$1");
export const basename = (path: string) => path.slice(path.lastIndexOf("/") + 1);
