package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"zchatproxy/proxy"
	"zchatproxy/proxy/identity"
	"zchatproxy/signer"
)

// configuration is everything that the environment says, with all that is wrong with it. Nothing in it changes
// after it has been loaded, but the secrets' values.
type configuration struct {
	process  processVars
	sites    []*site // in the order of their numbers
	peers    identity.Peers
	problems findings
	warnings findings
	// files are the files read into the configuration; one that changes calls for a reload. Secrets and the
	// listener's certificate look after their files themselves.
	files []string
}

// site is one site with the names under which its values were written.
type site struct {
	number int // of ZCHAT_SITES_<n>_; -1 for the plain form
	vars   siteVars
	// origin maps a key to the full name of the variable that the value came from, or would have come from.
	origin   map[string]string
	settings []byte
	ca       []byte
	hosts    []string // as they are compared: lower case, punycode
	name     string   // for logs and metrics
	secret   *signer.Secret
	helpCtr  *signer.Secret // nil without one
}

// variable returns the full name of a key for messages.
func (s *site) variable(key string) string { return s.origin[key] }

// loader loads configurations from one environment, again and again. It keeps the sources of secrets, so that a
// reload does not forget since when a secret has been in use.
type loader struct {
	names   *vocabulary
	lines   []string // NAME=value
	secrets map[string]*signer.Secret
	now     func() time.Time
}

func newLoader(lines []string) *loader {
	return &loader{names: newVocabulary(), lines: lines, secrets: map[string]*signer.Secret{}, now: time.Now}
}

// load reads the whole configuration and judges all of it. It never fails: what is wrong is in the result.
func (l *loader) load() *configuration {
	c := &configuration{}
	e := l.names.sort(l.lines)
	mistaken := l.reportUnknown(c, e)

	l.decode(c, &c.process, l.names.process, e.process, func(key string) string { return prefix + key })
	l.checkProcess(c)

	numbers := e.numbers()
	if len(numbers) == 0 {
		numbers = []int{-1}
	}
	owners := map[string]string{} // host → the variable that has it
	names := map[string]bool{}
	for _, n := range numbers {
		s := l.loadSite(c, e, n, mistaken)
		l.claimHosts(c, s, owners)
		s.name = siteName(s, names)
		c.sites = append(c.sites, s)
	}
	return c
}

// reportUnknown reports the names that do not exist, and returns the variables that they take the place of: that one
// of these is missing needs no sentence of its own.
func (l *loader) reportUnknown(c *configuration, e *environ) map[string]bool {
	mistaken := map[string]bool{}
	for _, name := range e.unknown {
		message, meant := l.names.explain(name)
		c.problems.add(finding{Variable: name, Message: message})
		mistaken[meant] = true
	}
	for _, name := range e.ignored {
		c.warnings.addf(name, "has no effect: names are written in upper case, %s.", strings.ToUpper(name))
	}
	return mistaken
}

// decode fills a struct of variables from values, and reports each that is not of its type, not one of the words it
// may be, or below its least.
func (l *loader) decode(c *configuration, target any, vars []variable, values map[string]string, nameOf func(string) string) {
	options := env.Options{Environment: values, FuncMap: map[reflect.Type]env.ParserFunc{}}
	for t, parse := range parsers() {
		options.FuncMap[t] = parse
	}
	bad := map[string]bool{}
	var all env.AggregateError
	if err := env.ParseWithOptions(target, options); errors.As(err, &all) {
		good := maps.Clone(values)
		for _, e := range all.Errors {
			var parse env.ParseError
			if !errors.As(e, &parse) {
				c.problems.add(finding{Message: e.Error()})
				continue
			}
			v := vars[slices.IndexFunc(vars, func(v variable) bool { return v.Field == parse.Name })]
			bad[v.Key] = true
			delete(good, v.Key)
			c.problems.addf(nameOf(v.Key), "%v.", parse.Err)
		}
		// The defaults take the place of what cannot be read, so that no later check stumbles over it again.
		options.Environment = good
		_ = env.ParseWithOptions(target, options)
	}
	fields := reflect.ValueOf(target).Elem()
	for _, v := range vars {
		if bad[v.Key] {
			continue
		}
		if problem := judge(v, fields.FieldByName(v.Field)); problem != "" {
			c.problems.addf(nameOf(v.Key), "%s.", problem)
		}
	}
}

// judge holds a value against its variable's tags.
func judge(v variable, value reflect.Value) string {
	if v.OneOf != "" && value.String() != "" {
		words := strings.Split(v.OneOf, "|")
		if !slices.Contains(words, value.String()) {
			return fmt.Sprintf("is %q; write %s%s", value, orList(words), perhaps(value.String(), words))
		}
	}
	if v.Least == "" {
		return ""
	}
	switch value.Interface().(type) {
	case time.Duration:
		least, _ := time.ParseDuration(v.Least)
		if d := time.Duration(value.Int()); d < least {
			return fmt.Sprintf("is %v; write a longer time, such as %s", d, v.Default)
		}
	case int:
		least, _ := strconv.Atoi(v.Least)
		if value.Int() < int64(least) {
			return fmt.Sprintf("is %d; write %d or more", value.Int(), least)
		}
	}
	return ""
}

// perhaps adds the word that a misspelled one is close to.
func perhaps(word string, words []string) string {
	closest := closestOf(strings.ToLower(word), words)
	if d := distance(strings.ToLower(word), closest); d > 2 || 2*d > len(word) {
		return ""
	}
	return fmt.Sprintf(" (perhaps %s)", closest)
}

// orList writes "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// loadSite reads one site: what it leaves out comes from the plain form.
func (l *loader) loadSite(c *configuration, e *environ, number int, mistaken map[string]bool) *site {
	s := &site{number: number, origin: map[string]string{}}
	own := e.sites[number]
	values := map[string]string{}
	for _, v := range l.names.site {
		if v.FileOf != "" {
			continue // read together with the variable it is a form of
		}
		source, from := e.plain, prefix
		if number >= 0 && (has(own, v.Key) || v.FileForm != "" && has(own, v.FileForm)) {
			source, from = own, fmt.Sprintf("%sSITES_%d_", prefix, number)
		} else if number >= 0 && e.plain[v.Key] == "" && e.plain[v.FileForm] == "" {
			from = fmt.Sprintf("%sSITES_%d_", prefix, number) // where the missing value should be written
		}
		s.origin[v.Key] = from + v.Key
		values[v.Key] = source[v.Key]
		if v.FileForm == "" {
			continue
		}
		s.origin[v.FileForm] = from + v.FileForm
		values[v.FileForm] = source[v.FileForm]
		if source[v.Key] != "" && source[v.FileForm] != "" {
			c.problems.addf(from+v.Key, "and %s are both set; keep one of them.", from+v.FileForm)
			values[v.FileForm] = ""
		}
	}
	l.decode(c, &s.vars, l.names.site, values, s.variable)
	for _, v := range l.names.site {
		if v.Required && values[v.Key] == "" && values[v.FileForm] == "" && !mistaken[s.origin[v.Key]] &&
			!mistaken[s.origin[v.FileForm]] && !mistaken[prefix+v.Key] {
			c.problems.add(finding{Variable: s.origin[v.Key], Message: missing(s, v), missing: true})
		}
	}
	l.checkSite(c, s)
	return s
}

func has(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}

// missing says that a required variable is not set.
func missing(s *site, v variable) string {
	name := s.origin[v.Key]
	if v.FileForm != "" {
		return fmt.Sprintf("%s is not set; write the widget's shared secret there, or the name of a file that holds it into %s.", name, s.origin[v.FileForm])
	}
	return fmt.Sprintf("%s is not set; write the address of the site behind, such as http://127.0.0.1:8000.", name)
}

// secretOf returns the source of a secret, the same one at each load.
func (l *loader) secretOf(name, value, file string) *signer.Secret {
	key := name
	if file != "" {
		key = "file:" + file
	}
	if s := l.secrets[key]; s != nil {
		return s
	}
	var s *signer.Secret
	if file != "" {
		s = signer.SecretFile(file)
	} else {
		s = signer.NewSecret(value)
	}
	l.secrets[key] = s
	return s
}

// readLimited reads a file of the configuration. The limit keeps a wrong path (a disk, an endless device) from
// taking all memory.
func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const limit = 4 << 20
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("%s is larger than 4 MiB", name)
	}
	return data, err
}

// reasonOf is what went wrong with a file, without the operation and the name that the sentence around it has.
func reasonOf(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// proxyConfig is the configuration as package proxy takes it.
func (c *configuration) proxyConfig(log *slog.Logger) proxy.Config {
	b := versionOf()
	p := proxy.Config{
		Trusted:         c.peers,
		RoutePrefix:     c.process.RoutePrefix,
		UpstreamTimeout: c.process.UpstreamTimeout,
		Log:             log,
		Version:         b.Version,
		Commit:          b.Commit,
	}
	for _, s := range c.sites {
		p.Sites = append(p.Sites, s.proxySite())
	}
	return p
}

func (s *site) proxySite() proxy.Site {
	v := &s.vars
	return proxy.Site{
		Name: s.name, Hosts: s.hosts,
		Upstream: v.Upstream, UpstreamHost: v.UpstreamHost, UpstreamCA: s.ca, UpstreamInsecure: v.UpstreamInsecure,
		Widget: v.Widget, WidgetKey: v.WidgetKey, Settings: s.settings,
		Secret: s.secret, HelpCenterSecret: s.helpCtr, KeyID: v.KeyID, TokenTTL: v.TokenTTL, TokenLimit: int(v.TokenLimit), OmitEmail: v.OmitEmail,
		Identity: s.identityConfig(), IdentityPath: v.IdentityPath,
		Inject: v.Inject, Include: v.IncludePaths, Exclude: v.ExcludePaths, CSP: v.CSP,
	}
}

func (s *site) identityConfig() identity.Config {
	v := &s.vars
	return identity.Config{
		Preset: v.Identity, IDHeader: v.IDHeader, EmailHeader: v.EmailHeader, NameHeader: v.NameHeader,
		EmailVerifiedHeader: v.EmailVerifiedHeader, EmailVerified: v.EmailVerified, IDPrefix: v.ExternalIDPrefix,
		KeysURL: v.AssertionKeysURL, Issuer: v.AssertionIssuer, Audience: v.AssertionAudience,
	}
}

// variableOf names the variable behind a field of proxy.Site or identity.Config.
func (s *site) variableOf(field string) string {
	if key, ok := fieldKeys[field]; ok {
		return s.variable(key)
	}
	return ""
}

var fieldKeys = map[string]string{
	"Hosts": "HOSTS", "Upstream": "UPSTREAM", "UpstreamHost": "UPSTREAM_HOST", "UpstreamCA": "UPSTREAM_CA_FILE",
	"UpstreamInsecure": "UPSTREAM_INSECURE", "Widget": "WIDGET", "WidgetKey": "WIDGET_KEY", "Settings": "SETTINGS",
	"Secret": "SECRET", "HelpCenterSecret": "HELP_CENTER_SECRET", "KeyID": "KEY_ID", "TokenTTL": "TOKEN_TTL", "TokenLimit": "TOKEN_LIMIT",
	"OmitEmail": "OMIT_EMAIL", "IdentityPath": "IDENTITY_PATH", "Inject": "INJECT", "Include": "INCLUDE_PATHS",
	"Exclude": "EXCLUDE_PATHS", "CSP": "CSP",
	"Identity": "IDENTITY", "Preset": "IDENTITY", "IDHeader": "ID_HEADER", "EmailHeader": "EMAIL_HEADER",
	"NameHeader": "NAME_HEADER", "EmailVerifiedHeader": "EMAIL_VERIFIED_HEADER", "EmailVerified": "EMAIL_VERIFIED",
	"IDPrefix": "EXTERNAL_ID_PREFIX", "KeysURL": "ASSERTION_KEYS_URL", "Issuer": "ASSERTION_ISSUER",
	"Audience": "ASSERTION_AUDIENCE",
}
