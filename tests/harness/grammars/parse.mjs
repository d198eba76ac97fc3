// Reads a list of {language, query} from standard input, and writes for each where its first syntax error is, or null.
import { parser as logql } from "@grafana/lezer-logql";
import { parser as promql } from "@prometheus-io/lezer-promql";
import { readFileSync } from "node:fs";

const PARSERS = { logql, promql };

function firstError({ language, query }) {
  let found = null;
  PARSERS[language].parse(query).iterate({
    enter(node) {
      if (node.type.isError && found === null) found = node.from;
    },
  });
  return found;
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(firstError)));
