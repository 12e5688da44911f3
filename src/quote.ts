/**
 * A name from a file, fit for one line of a message: quoted, escaped (also the control and line separator
 * characters that JSON leaves alone, so that a hostile name cannot steer a terminal), cut after 100 characters.
 */
export function quote(name: string): string {
  const cut = name.length > 100 ? name.slice(0, 100) + "…" : name;
  return JSON.stringify(cut).replace(
    /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"),
  );
}
