package proxy

import (
	"fmt"
	"net"
	"strings"

	"golang.org/x/net/idna"
)

// hostTable finds a site by the Host of a request, in a number of map look-ups bounded by the number
// of labels in the name.
type hostTable struct {
	exact    map[string]*site // "shop.example" or "shop.example:8443"
	wildcard map[string]*site // "example.com" for *.example.com
	fallback *site            // "*"
}

// add enters the host patterns of one site; none means "*".
func (t *hostTable) add(patterns []string, s *site) *ConfigError {
	if t.exact == nil {
		t.exact, t.wildcard = make(map[string]*site), make(map[string]*site)
	}
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	for _, p := range patterns {
		var taken *site
		switch name, isWildcard := strings.CutPrefix(p, "*."); {
		case p == "*":
			taken, t.fallback = t.fallback, s
		case isWildcard:
			key, err := normalHost(name)
			if err != nil {
				return &ConfigError{Field: "Hosts", Problem: fmt.Sprintf("%q: %v", p, err)}
			}
			taken, t.wildcard[key] = t.wildcard[key], s
		default:
			key, err := normalHost(p)
			if err != nil {
				return &ConfigError{Field: "Hosts", Problem: fmt.Sprintf("%q: %v", p, err)}
			}
			taken, t.exact[key] = t.exact[key], s
		}
		if taken != nil && taken != s {
			return &ConfigError{Field: "Hosts", Problem: fmt.Sprintf("%q belongs to site %q already: a name goes to one site only", p, taken.name)}
		}
	}
	return nil
}

// normalHost brings a configured name into the form that find looks up: lower case, ASCII, without a
// trailing dot, an optional port kept.
func normalHost(name string) (string, error) {
	host, port := splitPort(name)
	if strings.Contains(host, "*") {
		return "", fmt.Errorf("a wildcard stands for whole labels at the front: write *.example.com")
	}
	if strings.ContainsAny(host, "/@ ?#") {
		return "", fmt.Errorf("write a host name alone, such as shop.example.com")
	}
	if !strings.HasPrefix(host, "[") {
		ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(strings.ReplaceAll(host, "_", "x"), "."))
		if err != nil {
			return "", fmt.Errorf("not a host name: %v", err)
		}
		if !strings.Contains(host, "_") { // an underscore is no IDNA letter, but stands in intranet names
			host = ascii
		}
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if port != "" {
		return host + ":" + port, nil
	}
	return host, nil
}

// find returns the site for the Host of a request, nil where none is configured for it. A name with
// the request's port wins over the name alone, an exact name over a wildcard, a longer wildcard over
// a shorter one. What is no name with a port is nobody's, under "*" too: the upstream would write it into links.
func (t *hostTable) find(hostport string) *site {
	host, port := splitPort(hostport)
	if hostport != "" && !isHostAndPort(hostport) || strings.Trim(port, "0123456789") != "" {
		return nil
	}
	host = strings.TrimSuffix(host, ".")
	host = strings.ToLower(host) // no allocation where it is lower case already
	if port != "" {
		if s := t.exact[hostport]; s != nil {
			return s
		}
		if s := t.exact[host+":"+port]; s != nil {
			return s
		}
	}
	if s := t.exact[host]; s != nil {
		return s
	}
	if len(t.wildcard) > 0 && net.ParseIP(host) == nil {
		for rest := host; ; {
			_, parent, ok := strings.Cut(rest, ".")
			if !ok {
				break
			}
			if s := t.wildcard[parent]; s != nil {
				return s
			}
			rest = parent
		}
	}
	return t.fallback
}

// splitPort splits "name:port" and "[v6]:port"; the brackets stay on the name.
func splitPort(hostport string) (host, port string) {
	i := strings.LastIndexByte(hostport, ':')
	if i < 0 || strings.HasSuffix(hostport, "]") || strings.Count(hostport, ":") > 1 && hostport[0] != '[' {
		return hostport, ""
	}
	return hostport[:i], hostport[i+1:]
}
