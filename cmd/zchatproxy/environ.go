package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// environ is the environment sorted by what its variables configure, names without their prefix.
type environ struct {
	process map[string]string
	plain   map[string]string         // of the only site, or defaults of all
	sites   map[int]map[string]string // ZCHAT_SITES_<n>_
	unknown []string                  // full names, sorted
	ignored []string                  // names in another letter case, which have no effect, sorted
}

// numbers returns the numbers of the sites in ascending order.
func (e *environ) numbers() []int {
	numbers := make([]int, 0, len(e.sites))
	for n := range e.sites {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

// vocabulary is all names that the environment may use.
type vocabulary struct {
	process, site       []variable
	isProcess, isOfSite map[string]bool
}

func newVocabulary() *vocabulary {
	v := &vocabulary{process: variablesOf(processVars{}), site: variablesOf(siteVars{})}
	v.isProcess, v.isOfSite = make(map[string]bool), make(map[string]bool)
	for _, p := range v.process {
		v.isProcess[p.Key] = true
	}
	for _, s := range v.site {
		v.isOfSite[s.Key] = true
	}
	return v
}

// sort reads environ lines of the form NAME=value. Values are trimmed: no variable has a meaning that depends on
// surrounding white space, and files and templates leave a newline at the end.
func (v *vocabulary) sort(lines []string) *environ {
	e := &environ{process: map[string]string{}, plain: map[string]string{}, sites: map[int]map[string]string{}}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		key, ours := strings.CutPrefix(name, prefix)
		if !ours {
			if strings.HasPrefix(strings.ToUpper(name), prefix) {
				e.ignored = append(e.ignored, name)
			}
			continue
		}
		value = strings.TrimSpace(value)
		number, siteKey, numbered := siteVariable(key)
		switch {
		case numbered && v.isOfSite[siteKey]:
			if e.sites[number] == nil {
				e.sites[number] = map[string]string{}
			}
			e.sites[number][siteKey] = value
		case v.isProcess[key]:
			e.process[key] = value
		case v.isOfSite[key]:
			e.plain[key] = value
		default:
			e.unknown = append(e.unknown, name)
		}
	}
	slices.Sort(e.unknown)
	slices.Sort(e.ignored)
	return e
}

// siteVariable takes SITES_<n>_KEY apart. The number is written without leading zeros, so that no two names mean
// the same variable.
func siteVariable(key string) (number int, rest string, ok bool) {
	rest, ok = strings.CutPrefix(key, "SITES_")
	if !ok {
		return 0, "", false
	}
	digits, rest, ok := strings.Cut(rest, "_")
	if !ok {
		return 0, "", false
	}
	number, err := strconv.Atoi(digits)
	if err != nil || number < 0 || strconv.Itoa(number) != digits {
		return 0, "", false
	}
	return number, rest, true
}

// Kubernetes puts such variables into each container for each Service of its namespace, so a Service that is
// called zchat collides with our prefix.
var serviceLink = regexp.MustCompile(`^ZCHAT_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT|PORT_[0-9]+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)$`)

// explain says of an unknown variable what was probably meant. The second result is the full name of the variable
// that it takes the place of, "" for none.
func (v *vocabulary) explain(name string) (message, meant string) {
	key := strings.TrimPrefix(name, prefix)
	if serviceLink.MatchString(name) {
		return name + " is not a variable of zchatproxy; Kubernetes adds it for a Service called zchat. " +
			"Set enableServiceLinks: false in the pod, or give the Service another name.", ""
	}
	if n, rest, ok := siteVariable(key); ok && v.isProcess[rest] {
		return fmt.Sprintf("%s does not exist: %s%s holds for the whole process, not for site %d. Write %[2]s%[3]s.",
			name, prefix, rest, n), prefix + rest
	}
	if base, ok := strings.CutSuffix(key, "_FILE"); ok && v.knows(base) {
		return fmt.Sprintf("%s does not exist: %s%s is not read from a file. Write its value into %[2]s%[3]s.",
			name, prefix, base), prefix + base
	}
	closest := prefix + v.closest(key)
	return fmt.Sprintf("%s is not a variable of zchatproxy; the closest one is %s. Write that, or remove it.",
		name, closest), closest
}

// knows reports whether key, without the common prefix, is the name of a variable.
func (v *vocabulary) knows(key string) bool {
	if _, rest, ok := siteVariable(key); ok {
		return v.isOfSite[rest]
	}
	return v.isProcess[key] || v.isOfSite[key]
}

// sitesLike matches what people write for SITES_<n>_, with the number forgotten or the word misspelled.
var sitesLike = regexp.MustCompile(`^S[A-Z]{1,6}?S?_?0*([0-9]*)_`)

// closest returns the known name nearest to key.
func (v *vocabulary) closest(key string) string {
	candidates := make([]string, 0, len(v.process)+2*len(v.site))
	for _, p := range v.process {
		candidates = append(candidates, p.Key)
	}
	for _, s := range v.site {
		candidates = append(candidates, s.Key)
	}
	if m := sitesLike.FindStringSubmatch(key); m != nil {
		number := m[1]
		if number == "" {
			number = "0"
		}
		for _, s := range v.site {
			candidates = append(candidates, "SITES_"+number+"_"+s.Key)
		}
	}
	return closestOf(key, candidates)
}

// closestOf returns the candidate with the smallest distance from word; of equal ones that which shares more words
// with it, then the first. Words in another order count as one mistake.
func closestOf(word string, candidates []string) string {
	best, bestDistance, bestShared := "", 0, 0
	for _, c := range candidates {
		d, shared := distance(word, c), sharedWords(word, c)
		if n := 1 + strings.Count(word, "_"); n > 1 && shared == n && n == 1+strings.Count(c, "_") {
			d = min(d, 1)
		}
		if best == "" || d < bestDistance || d == bestDistance && shared > bestShared {
			best, bestDistance, bestShared = c, d, shared
		}
	}
	return best
}

func sharedWords(a, b string) int {
	words, shared := strings.Split(a, "_"), 0
	for w := range strings.SplitSeq(b, "_") {
		if slices.Contains(words, w) {
			shared++
		}
	}
	return shared
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours that turn a into b (optimal
// string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
