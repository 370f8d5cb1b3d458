// The residual stream of a column: what each part of the layer writes, coordinate by coordinate.

import { scaleLinear } from "d3-scale";
import { say } from "./words.js";

export function Stream({ view, step }) {
  const column = view.decoded.columns[step];
  const before = view.before?.columns[step];
  const rows = [
    ["token and position", "x"],
    ["+ attention", "attnOut"],
    ["+ feed-forward", "mlpOut"],
    ["= stream", "resid"],
    ["after the last norm", "final"],
  ];
  const largest = Math.max(1e-9, ...rows.flatMap(([, part]) => column[part].map(Math.abs)));
  const strength = scaleLinear([0, largest], [0, 70]).clamp(true);
  return (
    <details class="group" open>
      <summary>
        Residual stream <span class="soft">{view.network.layout.nameOf(step)}, by coordinate</span>
      </summary>
      <div class="scroll">
        <table class="stream">
          <tbody>
            {rows.map(([label, part]) => (
              <tr key={part}>
                <th scope="row">{label}</th>
                {column[part].map((value, i) => {
                  const hue = value < 0 ? "var(--minus)" : "var(--plus)";
                  const fill = `color-mix(in srgb, ${hue} ${strength(Math.abs(value)).toFixed(1)}%, transparent)`;
                  const was = before && Math.abs(before[part][i] - value) > 5e-3;
                  return (
                    <td
                      key={i}
                      class={was ? "changed" : ""}
                      style={`background:${fill}`}
                      title={was ? `before: ${say(before[part][i])}` : undefined}
                    >
                      {say(value)}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
