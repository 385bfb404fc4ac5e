package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"zchatproxy/proxy"
)

// claimHosts reports hosts that two sites have.
func (l *loader) claimHosts(c *configuration, s *site, owners map[string]string) {
	name := s.variable("HOSTS")
	own := map[string]bool{}
	for _, h := range s.hosts {
		if own[h] {
			continue
		}
		own[h] = true
		other, taken := owners[h]
		owners[h] = name
		if s.number >= 0 {
			owners[h] = fmt.Sprintf("%sSITES_%d_HOSTS", prefix, s.number)
		}
		if !taken {
			continue
		}
		what := fmt.Sprintf("has %s", h)
		if h == "*" {
			what = "is * (every host)"
		}
		c.problems.addf(owners[h], "%s, which %s has too; write each host name into one site only.", what, other)
	}
	s.hosts = slices.DeleteFunc(slices.Compact(s.hosts), func(h string) bool { return h == "" })
	if len(s.hosts) == 0 {
		s.hosts = []string{"*"}
	}
}

// siteName chooses the name under which logs and metrics show a site: its first host, since hosts are unique.
func siteName(s *site, taken map[string]bool) string {
	name := s.hosts[0]
	if name == "*" {
		name = "default"
	}
	if taken[name] {
		name = fmt.Sprintf("%s-%d", name, s.number)
	}
	taken[name] = true
	return name
}

// refused turns the errors of proxy.New into findings. The checks before it should have said it all in better words;
// this is for what they do not know.
func (c *configuration) refused(err error) []finding {
	var list []finding
	for _, e := range joined(err) {
		var ce *proxy.ConfigError
		f := finding{Message: e.Error()}
		if errors.As(e, &ce) && ce.Site >= 0 && ce.Site < len(c.sites) {
			f.Variable = c.sites[ce.Site].variableOf(ce.Field)
			if f.Variable != "" {
				f.Message = fmt.Sprintf("%s is not usable: %s.", f.Variable, strings.TrimSuffix(ce.Problem, "."))
			}
		}
		list = append(list, f)
	}
	return list
}

// joined takes an error of errors.Join apart.
func joined(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
