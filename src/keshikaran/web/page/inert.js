// Text that anybody may have written, made harmless where it is shown or saved.

const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };
const FORMULA = /^['=+\-@\t\r\n＝＋－＠]/u;
const COLUMNS = ["path", "image_id", "score", "verdict", "reason", "model_id"];

/** What cannot be seen comes out as an escape, as `keshikaran.inert.printable` has it. */
export function printable(text) {
  return String(text).replace(UNSEEN, (unseen) => {
    if (unseen in SHORT) return SHORT[unseen];
    const code = unseen.codePointAt(0);
    const [mark, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${mark}${code.toString(16).padStart(digits, "0")}`;
  });
}

/** Predictions as a CSV file for spreadsheets: no cell of it is a formula. */
export function csvOf(predictions) {
  const rows = predictions.map((prediction) => COLUMNS.map((name) => prediction[name]));
  return "\ufeff" + [COLUMNS, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function cell(value) {
  const text = printable(value ?? "");
  const shown = FORMULA.test(text) ? `'${text}` : text;
  return `"${shown.replaceAll('"', '""')}"`;
}
