// Files out of a drop or the clipboard; folders are walked through.

/** All files that were dropped, each as {file, name}; names of files in folders have the folders. */
export async function dropped(transfer) {
  const items = [...(transfer.items ?? [])].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!items.length || entries.includes(null)) return [...transfer.files].map(named);
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

/** Images of the clipboard. Browsers call all of them image.png, so they are numbered. */
export function pasted(clipboard, from) {
  return [...(clipboard?.files ?? [])].map((file, index) => {
    const generic = /^image\.(\w+)$/.exec(file.name);
    return { file, name: generic ? `pasted-${from + index}.${generic[1]}` : file.name };
  });
}

export function named(file) {
  return { file, name: file.webkitRelativePath || file.name };
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, name: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return; // a browser gives at most a hundred at a time
    for (const inner of some) await walk(inner, found);
  }
}
