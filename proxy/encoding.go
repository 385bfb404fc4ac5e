package proxy

import (
	"net/http"
	"strconv"
	"strings"

	"zchatproxy/inject"
)

// restrictCodings takes from Accept-Encoding the codings in which a page could not be rewritten, so that
// the upstream chooses one that both the visitor and the proxy understand. Everything else about the field
// (weights, order, what is refused) stays as it came; a field that needs no change keeps its bytes.
func restrictCodings(h http.Header) {
	values := h["Accept-Encoding"]
	for i, v := range values {
		if kept, changed := supportedCodings(v); changed {
			out := append([]string(nil), values...)
			out[i] = kept
			for j := i + 1; j < len(out); j++ {
				out[j], _ = supportedCodings(out[j])
			}
			h["Accept-Encoding"] = out
			return
		}
	}
}

// supportedCodings drops the unsupported elements of one Accept-Encoding field value (RFC 9110 section
// 12.5.3). Where nothing is left, identity is: it is acceptable unless excluded.
func supportedCodings(v string) (kept string, changed bool) {
	for part := range strings.SplitSeq(v, ",") {
		if !supportedCoding(part) {
			changed = true
			break
		}
	}
	if !changed {
		return v, false
	}
	var parts []string
	for part := range strings.SplitSeq(v, ",") {
		if supportedCoding(part) {
			parts = append(parts, strings.TrimSpace(part))
		}
	}
	if len(parts) == 0 {
		return "identity", true
	}
	return strings.Join(parts, ", "), true
}

func supportedCoding(element string) bool {
	name, params, weighted := strings.Cut(element, ";")
	name = strings.TrimSpace(name)
	if name == "" || name == "*" || strings.EqualFold(name, "identity") || inject.Supports(strings.ToLower(name)) {
		return true
	}
	return weighted && qualityOf(params) == 0 // a refusal goes up as it came
}

// qualityOf reads the weight of a list element's parameters, 1 where there is none (RFC 9110 section
// 12.4.2). One that is not a number counts as 1, as most servers have it.
func qualityOf(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			if q, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
				return q
			}
		}
	}
	return 1
}
