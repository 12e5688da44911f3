import { DeviceError } from "../../errors.ts";
import { type FoundAdapter, openDevice } from "./adapter.ts";
import { GpuHost, type GpuHostOptions } from "./host.ts";
import { ENABLE_LINES } from "./shared_text.ts";
import { checkSubgroups, reasonOf } from "./subgroups.ts";

interface HostOptions extends Omit<GpuHostOptions, "subgroups"> {
  subgroups?: boolean;
  startSeconds?: number;
}

/** A device with its subgroups, if they give the right numbers, and what to say of them. */
export async function openHost(
  found: FoundAdapter,
  { subgroups = true, f16, poison, rewrite, readSeconds, startSeconds }: HostOptions,
): Promise<{ host: GpuHost; subgroups: string }> {
  const device = await openDevice(found, startSeconds);
  const options = { f16, poison, rewrite, readSeconds };
  let reason = "turned off";
  if (subgroups && !device.features.has("subgroups" as GPUFeatureName)) reason = "not offered";
  else if (subgroups) {
    const [size, most] = found.subgroups;
    for (const enable of ENABLE_LINES) {
      const host = new GpuHost(device, { ...options, subgroups: { enable, size } });
      try {
        await checkSubgroups(host);
        return { host, subgroups: `subgroups of ${most > size ? `${size} to ${most}` : size}` };
      } catch (error) {
        reason = reasonOf(error);
        if (!(error instanceof DeviceError)) break; // it compiled, and gave wrong numbers
      }
    }
  }
  return { host: new GpuHost(device, options), subgroups: `no subgroups (${reason})` };
}
