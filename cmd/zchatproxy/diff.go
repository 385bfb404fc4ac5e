package main

import (
	"bytes"
	"fmt"
)

// unifiedDiff describes the change from before to after in the format of diff -u, which patch reads. The two differ by
// one insertion at most, so there is one hunk, and no search for common lines is needed. It is empty when they are equal.
func unifiedDiff(name string, before, after []byte) []byte {
	if bytes.Equal(before, after) {
		return nil
	}
	const context = 3
	old, new := splitLines(before), splitLines(after)
	head := 0
	for head < len(old) && head < len(new) && bytes.Equal(old[head], new[head]) {
		head++
	}
	tail := 0
	for tail < len(old)-head && tail < len(new)-head && bytes.Equal(old[len(old)-1-tail], new[len(new)-1-tail]) {
		tail++
	}
	from := max(0, head-context)
	oldEnd, newEnd := min(len(old), len(old)-tail+context), min(len(new), len(new)-tail+context)

	var b bytes.Buffer
	fmt.Fprintf(&b, "--- %s\n+++ %s\n@@ -%s +%s @@\n", name, name, hunkRange(from, oldEnd), hunkRange(from, newEnd))
	writeLines(&b, ' ', old[from:head])
	writeLines(&b, '-', old[head:len(old)-tail])
	writeLines(&b, '+', new[head:len(new)-tail])
	writeLines(&b, ' ', old[len(old)-tail:oldEnd])
	return b.Bytes()
}

// hunkRange writes the lines from (counted from 0) up to end, as a hunk's header has it.
func hunkRange(from, end int) string {
	if end == from {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, end-from)
}

// splitLines splits after each newline.
func splitLines(text []byte) [][]byte {
	lines := bytes.SplitAfter(text, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func writeLines(b *bytes.Buffer, mark byte, lines [][]byte) {
	for _, line := range lines {
		b.WriteByte(mark)
		b.Write(line)
		if !bytes.HasSuffix(line, []byte("\n")) {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}
