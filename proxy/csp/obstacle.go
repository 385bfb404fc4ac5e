package csp

// Obstacle is something that a policy stops.
type Obstacle struct {
	Policy    string // the policy's text as it came
	Directive string // the directive that decides, "connect-src"
	Stops     string // what it stops: "script", "token-route", "widget-script", "widget-connect", "widget-style", …
}

// Obstacles lists what the enforced header policies stop, for doctor and the debug log. nonce is the one on the injected
// element, empty without.
func Obstacles(enforce []string, nonce string, n Needs) []Obstacle { return nil }

// MetaObstacles lists what policies from <meta> elements stop.
func MetaObstacles(policies []string, n Needs) []Obstacle { return nil }

// HasNonce reports whether a field carries a nonce.
func HasNonce(fields []string) bool { return false }
