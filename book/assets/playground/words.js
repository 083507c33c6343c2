// From tokens to words, as scratch.alignment does it.

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

// A column's word receives the sum of its tokens' weights; a row's word is the mean over its tokens.
export function wordMap(rows, rowGroups, columnGroups) {
  const narrow = rows.map((row) => columnGroups.map((group) => sum(group.map((i) => row[i]))));
  return rowGroups.map((group) => columnGroups.map((_, c) => sum(group.map((i) => narrow[i][c])) / group.length));
}

const strongest = (weights) => weights.indexOf(Math.max(...weights));

// Every row's word with its strongest column, every column's with its strongest row: [[row, column], ...].
export function linksBothWays(map) {
  const found = new Map();
  map.forEach((row, r) => found.set(`${r} ${strongest(row)}`, [r, strongest(row)]));
  map[0].forEach((_, c) => {
    const r = strongest(map.map((row) => row[c]));
    found.set(`${r} ${c}`, [r, c]);
  });
  return [...found.values()];
}
