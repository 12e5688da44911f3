export const fileURLToPath = (url: string | URL) => decodeURIComponent(new URL(url).pathname);
