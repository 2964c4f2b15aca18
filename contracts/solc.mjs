#!/usr/bin/env node
// The compiler from npm behind the command line that forge and foundry-compilers expect:
// `--version` prints one, and anything else turns standard JSON on stdin into standard JSON on
// stdout. Registries carry no native compiler for this version.
import { createRequire } from "node:module";
import { readFileSync, writeSync } from "node:fs";

const solc = createRequire(import.meta.url)("solc");

if (process.argv.includes("--version")) {
  // The name of the build that the tools look for ends in a platform; emscripten's is not known.
  const version = solc.version().replace(/\.Emscripten\.clang$/, ".Linux.g++");
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${version}`);
} else {
  const output = Buffer.from(solc.compile(readFileSync(0, "utf8")));
  for (let sent = 0; sent < output.length; ) {
    sent += writeSync(1, output, sent);
  }
}
