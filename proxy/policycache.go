package proxy

import (
	"slices"
	"sync"

	"zchatproxy/proxy/csp"
)

// policyCache keeps what became of a site's policies. A site has a handful of them, and the same ones on
// every page, unless they carry nonces; those are not kept. The zero value is ready to use, by many goroutines.
type policyCache struct {
	mu      sync.Mutex
	entries []policyEntry
}

type policyEntry struct {
	enforce, report []string
	origin          string
	result          csp.Result
}

const keptPolicies = 16

// patch is csp.Patch, remembered. The slices of a result are never written to.
func (c *policyCache) patch(enforce, report []string, n csp.Needs) csp.Result {
	c.mu.Lock()
	for i := range c.entries {
		if e := &c.entries[i]; e.origin == n.Origin && slices.Equal(e.enforce, enforce) && slices.Equal(e.report, report) {
			result := e.result
			c.mu.Unlock()
			return result
		}
	}
	c.mu.Unlock()
	result := csp.Patch(enforce, report, n)
	if csp.HasNonce(enforce) || csp.HasNonce(report) {
		return result
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= keptPolicies {
		c.entries = c.entries[:0]
	}
	c.entries = append(c.entries, policyEntry{slices.Clone(enforce), slices.Clone(report), n.Origin, result})
	return result
}
