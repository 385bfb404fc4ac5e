package main

import (
	"crypto/sha256"
	"slices"
)

// fileWatch notices that files have other contents. It compares contents, not times: ConfigMaps swap symbolic links,
// restored files have old times, and these files are few and small.
type fileWatch struct {
	names []string
	seen  map[string][sha256.Size]byte
}

func newFileWatch(names []string) *fileWatch {
	w := &fileWatch{names: slices.Compact(slices.Sorted(slices.Values(names))), seen: map[string][sha256.Size]byte{}}
	w.changed()
	return w
}

// changed returns the names of the files that are not as they were at the last call. A file that cannot be read counts
// as one with contents of its own.
func (w *fileWatch) changed() []string {
	var changed []string
	for _, name := range w.names {
		data, err := readLimited(name)
		sum := sha256.Sum256(data)
		if err != nil {
			sum = [sha256.Size]byte{}
		}
		if before, known := w.seen[name]; known && before != sum {
			changed = append(changed, name)
		}
		w.seen[name] = sum
	}
	return changed
}
