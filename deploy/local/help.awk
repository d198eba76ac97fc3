# Prints the targets of a Makefile that carry a `##` text, below their `##@` headings.
BEGIN { FS = ":.*##[ ]*" }
/^##@/ { printf "\n%s\n", substr($0, 5) }
/^[a-z][a-z0-9-]*:.*##/ { printf "  make %-18s %s\n", $1, $2 }
