package proxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
)

// BenchTransport is the standard library's transport with the settings of a site with this upstream.
func BenchTransport(upstream string) http.RoundTripper {
	u, err := url.Parse(upstream)
	if err != nil {
		panic(err)
	}
	return newUpstream(upstreamKey{target: upstream, timeout: defaultUpstreamTimeout}, u).transport.Other
}

// BenchBuffers is the pool that bodies are copied through.
func BenchBuffers() httputil.BufferPool { return copyBuffers }

// UntrueFields are the header fields that an insertion makes untrue.
func UntrueFields() (names []string) {
	for _, row := range untrue {
		names = append(names, row.field)
	}
	return names
}

// HostTable returns a look-up of hosts among sites that have the given patterns, one site each.
func HostTable(patterns ...string) (find func(host string) (pattern string)) {
	var table hostTable
	for _, p := range patterns {
		if err := table.add([]string{p}, &site{name: p}); err != nil {
			panic(err)
		}
	}
	return func(host string) string {
		if s := table.find(host); s != nil {
			return s.name
		}
		return ""
	}
}
