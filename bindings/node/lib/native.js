'use strict';
// Finds the native half for this machine. Owns its path and nothing else.

const fs = require('node:fs');
const path = require('node:path');

/** "linux-x64-glibc" for one. */
function target() {
  const report = process.platform === 'linux' ? process.report?.getReport() : undefined;
  const libc = report === undefined ? '' : report.header.glibcVersionRuntime ? '-glibc' : '-musl';
  return `${process.platform}-${process.arch}${libc}`;
}

function load() {
  const folder = path.join(__dirname, '..', 'prebuilds');
  const file = path.join(folder, target(), 'otelcore.node');
  if (fs.existsSync(file)) return require(file);
  const found = fs.existsSync(folder) ? fs.readdirSync(folder).sort().join(', ') : '';
  throw new Error(
    `otelcore: this package has no library for ${target()}; it has ${found || 'none'}. ` +
      'scripts/node-package in the sources builds one.',
  );
}

module.exports = load();
