// Figures under one another: text to the left, numbers to the right.
export function table(head, rows) {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  return all
    .map((row) => row.map((cell, column) => (column ? cell.padStart(widths[column]) : cell.padEnd(widths[column]))).join('  '))
    .join('\n');
}

// One decimal below ten, none above: more would be noise.
export function milliseconds(ms) {
  return Math.abs(ms) < 10 ? ms.toFixed(1) : String(Math.round(ms));
}

export function percentile(samples, percent) {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil((sorted.length * percent) / 100) - 1)];
}
