export default { env: {} as Record<string, string | undefined> };
