/** Base64 of bytes. */
export function base64(bytes: Uint8Array): string {
  if (bytes.toBase64) return bytes.toBase64(); // Node 20 has none
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(binary);
}
