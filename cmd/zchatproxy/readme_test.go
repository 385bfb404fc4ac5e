package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	_ "image/png"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"zchatproxy/testdata/group"
)

// document is a page of prose: its text, and what it sets as code.
type document struct {
	path   string // from the repository's root
	text   string
	blocks []string // code blocks, without their indentation
	spans  []string // code within a line
}

const root = "../.."

var (
	codeSpan = regexp.MustCompile("`([^`\n]+(?:\n[^`\n]+)?)`")
	fence    = regexp.MustCompile("^ *```")
)

// documents reads every page that people read. Those about test data are for who works on it.
func documents(t *testing.T) (all []document) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (name == ".git" || name == "testdata" || name == "node_modules") {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all = append(all, readDocument(filepath.ToSlash(relative), string(text)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"README.md", "deploy/README.md", "deploy/aws-alb.md", "cmd/zchatproxy/CONFIGURATION.md"} {
		if !slices.ContainsFunc(all, func(d document) bool { return d.path == want }) {
			t.Fatalf("%s is not found", want)
		}
	}
	return all
}

// readDocument takes the code out of Markdown: fenced blocks, and lines that stand four columns in after a blank one.
func readDocument(path, text string) document {
	d := document{path: path, text: text}
	var prose, block strings.Builder
	fenced, indented, blank := false, false, true
	end := func() {
		if strings.TrimSpace(block.String()) != "" {
			d.blocks = append(d.blocks, block.String())
		}
		block.Reset()
	}
	for line := range strings.Lines(text) {
		empty := strings.TrimSpace(line) == ""
		switch {
		case fence.MatchString(line):
			fenced = !fenced
			end()
		case fenced:
			block.WriteString(line)
		case (blank || indented) && strings.HasPrefix(line, "    ") && !empty:
			indented = true
			block.WriteString(strings.TrimLeft(line, " "))
		case indented && empty:
			block.WriteString(line)
		default:
			if indented {
				end()
			}
			indented = false
			prose.WriteString(line)
		}
		blank = empty
	}
	end()
	for _, m := range codeSpan.FindAllStringSubmatch(prose.String(), -1) {
		d.spans = append(d.spans, strings.ReplaceAll(m[1], "\n", " "))
	}
	return d
}

func TestReadDocument(t *testing.T) {
	d := readDocument("", "Say `one\ntwo` and\n    no code, only far in.\n\n    a\n    b\n\nMore:\n\n1. item\n\n       in the item  # x\n\n```sh\nfenced\n```\n`three`\n")
	if want := []string{"a\nb\n\n", "in the item  # x\n\n", "fenced\n"}; !slices.Equal(d.blocks, want) {
		t.Errorf("blocks %q, want %q", d.blocks, want)
	}
	if want := []string{"one two", "three"}; !slices.Equal(d.spans, want) {
		t.Errorf("spans %q, want %q", d.spans, want)
	}
}

// TestReadmeCommands holds the README to its two commands.
func TestReadmeCommands(t *testing.T) {
	for _, d := range documents(t) {
		if d.path != "README.md" {
			continue
		}
		for _, want := range []string{"go run ./cmd/zchatproxy demo\n", "go test ./...\n"} {
			if !slices.ContainsFunc(d.blocks, func(b string) bool { return strings.TrimSpace(b)+"\n" == want }) {
				t.Errorf("the README does not show %q by itself", want)
			}
		}
	}
}

// TestDocumentsNameVariablesThatExist finds the names that a renaming has left behind.
func TestDocumentsNameVariablesThatExist(t *testing.T) {
	names := newVocabulary()
	variable := regexp.MustCompile(prefix + `[A-Z0-9_]*[A-Z0-9]`)
	ofNoSite := regexp.MustCompile(`^SITES_\d+$`) // as in ZCHAT_SITES_0_…
	seen := 0
	for _, d := range documents(t) {
		for _, name := range variable.FindAllString(d.text, -1) {
			seen++
			key := strings.TrimPrefix(name, prefix)
			if key != "SITES" && !ofNoSite.MatchString(key) && !names.knows(key) {
				message, _ := names.explain(name)
				t.Errorf("%s: %s", d.path, message)
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d names are found", seen)
	}
}

// TestDocumentsLinkToWhatIsThere follows every link that stays within the repository.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	link := regexp.MustCompile(`(!?)\[[^\]]*\]\(([^)\s]+)\)`)
	seen := 0
	for _, d := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(d.text, -1) {
			target := m[2]
			u, err := url.Parse(target)
			if err != nil {
				t.Errorf("%s: %v", d.path, err)
				continue
			}
			if u.Scheme != "" {
				continue
			}
			seen++
			file := filepath.Join(root, filepath.Dir(d.path), u.Path)
			if u.Path == "" {
				file = filepath.Join(root, d.path)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s: %v", d.path, target, err)
				continue
			}
			if m[1] == "!" {
				decodes(t, d.path, file)
			}
			if u.Fragment != "" && !slices.Contains(anchors(t, file), u.Fragment) {
				t.Errorf("%s links to %s, and there is no such heading", d.path, target)
			}
		}
		// Paths that are only named, in code.
		for _, code := range slices.Concat(d.blocks, d.spans) {
			for _, m := range regexp.MustCompile(`(?:^|\s)((?:\./)?(?:cmd|deploy|proxy|inject|signer|testdata|\.ci|\.github)/[\w./-]+)`).FindAllStringSubmatch(code, -1) {
				if strings.HasSuffix(m[1], "...") {
					continue
				}
				seen++
				if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
					t.Errorf("%s names %s: %v", d.path, m[1], err)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d links are found", seen)
	}
}

func decodes(t *testing.T, from, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, err := image.Decode(f); err != nil {
		t.Errorf("%s shows %s: %v", from, file, err)
	}
}

// anchors are the names under which GitHub reaches a page's headings.
func anchors(t *testing.T, file string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ +(.*)$`).FindAllStringSubmatch(string(text), -1) {
		name := regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// assignment is a variable that a document sets, at the beginning of a line or as a whole span.
var assignment = regexp.MustCompile(`^(?:export )?(` + prefix + `[A-Z0-9_]+)=(\S*)(?:\s+#.*)?$`)

// assignments are the variables that a code block sets, with files in place of those it names.
func assignments(t *testing.T, block string) (env []string) {
	t.Helper()
	for line := range strings.Lines(block) {
		line = strings.TrimSpace(line)
		m := assignment.FindStringSubmatch(line)
		if m == nil {
			if strings.HasPrefix(strings.TrimPrefix(line, "export "), prefix) {
				t.Errorf("%q sets no variable as a shell reads it", line)
			}
			continue
		}
		if strings.HasSuffix(m[1], "SECRET_FILE") {
			m[2] = writeFile(t, "secret", goodSecret)
		}
		env = append(env, m[1]+"="+m[2])
	}
	return env
}

// completed adds what a whole configuration needs beyond an excerpt of one.
func completed(env []string) []string {
	sets := func(name string) bool {
		return slices.ContainsFunc(env, func(line string) bool {
			return regexp.MustCompile(`^` + prefix + `(SITES_\d+_)?` + name).MatchString(line)
		})
	}
	env = slices.Clone(env)
	if !sets("UPSTREAM=") {
		env = append(env, prefix+"UPSTREAM=http://127.0.0.1:8000")
	}
	if !sets("SECRET(_FILE)?=") {
		env = append(env, prefix+"SECRET="+goodSecret)
	}
	return env
}

// TestDocumentsShowUsableConfigurations has the program judge every block of variables, and every value in a line.
func TestDocumentsShowUsableConfigurations(t *testing.T) {
	blocks, spans := 0, 0
	for _, d := range documents(t) {
		for _, block := range d.blocks {
			env := assignments(t, block)
			if len(env) == 0 {
				continue
			}
			blocks++
			if code, out, _ := call(completed(env), "", "check"); code != 0 {
				t.Errorf("%s shows\n%s\nand check says\n%s", d.path, block, out)
			}
		}
		for _, span := range d.spans {
			m := assignment.FindStringSubmatch(span)
			if m == nil {
				continue
			}
			spans++
			for _, p := range newLoader(completed([]string{span})).load().problems.list {
				if p.Variable == m[1] {
					t.Errorf("%s shows `%s`: %s", d.path, span, p.Message)
				}
			}
		}
	}
	if blocks < 4 || spans < 10 {
		t.Errorf("only %d blocks and %d values in lines are found", blocks, spans)
	}
}

// words splits a command line as a shell does, as far as these documents go: quotes, and a comment at the end.
func words(line string) (list []string) {
	var word strings.Builder
	quote, open := rune(0), false
	for i, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ' ':
			if open || word.Len() > 0 {
				list = append(list, word.String())
			}
			word.Reset()
			open = false
		case r == '#' && (i == 0 || line[i-1] == ' '):
			return list
		default:
			word.WriteRune(r)
		}
	}
	if open || word.Len() > 0 {
		list = append(list, word.String())
	}
	return list
}

// commandsIn are the command lines of zchatproxy in a piece of code, without the program's own name. Each line of a
// block may be one, and each part between pipes and semicolons.
func commandsIn(code string) (commands [][]string) {
	for line := range strings.Lines(code) {
		for part := range strings.SplitSeq(strings.TrimSpace(line), " | ") {
			list := words(strings.TrimPrefix(part, "$ "))
			if i := slices.Index(list, ">"); i >= 0 {
				list = list[:i]
			}
			switch {
			case len(list) > 0 && list[0] == "zchatproxy":
				commands = append(commands, list[1:])
			case len(list) > 2 && list[0] == "go" && list[1] == "run" && list[2] == "./cmd/zchatproxy":
				commands = append(commands, list[3:])
			}
		}
	}
	return commands
}

func TestCommandsIn(t *testing.T) {
	got := commandsIn("curl -s x | zchatproxy inject --diff > new\n$ zchatproxy doctor --header 'A: b c'  # why\nzchatproxy\nsee zchatproxy check\ngo run ./cmd/zchatproxy demo\n")
	want := [][]string{{"inject", "--diff"}, {"doctor", "--header", "A: b c"}, {}, {"demo"}}
	if fmt.Sprint(got) != fmt.Sprint(want) || len(got) != len(want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestDocumentsShowCommandsThatWork executes every command line that a document shows.
func TestDocumentsShowCommandsThatWork(t *testing.T) {
	site := startSite(t, nil)
	env := []string{
		"ZCHAT_LISTEN=127.0.0.1:0", "ZCHAT_ADMIN_LISTEN=127.0.0.1:0", "ZCHAT_UPSTREAM=" + site.URL, "ZCHAT_SECRET=" + goodSecret,
		"ZCHAT_WIDGET_KEY=00000000-0000-0000-0000-000000000000",
	}
	front := start(t, env...).url // for the commands that ask a proxy over the network
	shown := map[string]bool{}
	for _, d := range documents(t) {
		for _, code := range slices.Concat(d.blocks, d.spans) {
			for _, args := range commandsIn(code) {
				line := strings.Join(args, " ")
				if shown[line] {
					continue
				}
				shown[line] = true
				t.Run("zchatproxy "+line, func(t *testing.T) { execute(t, d.path, env, front, args) })
			}
		}
	}
	for _, want := range []string{"serve", "demo", "check", "inject"} {
		if !shown[want] {
			t.Errorf("no document shows zchatproxy %s any more, or this test does not find it", want)
		}
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(shown)), func(line string) bool { return strings.HasPrefix(line, "doctor --header") }) {
		t.Error("no document shows doctor with headers any more, or this test does not find it")
	}
}

// execute runs one command line as shown, with this machine's addresses in place of those on the Internet.
func execute(t *testing.T, where string, env []string, front string, args []string) {
	args = slices.Clone(args)
	codes := []int{exitDone}
	for i, a := range args {
		if u, err := url.Parse(a); err == nil && u.Scheme == "https" {
			args[i] = front + u.Path
			codes = append(codes, exitFailed) // nobody is logged in there, which doctor is right to say
		}
	}
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch command {
	case "", "serve", "demo":
		untilItSays(t, env, map[string]string{"demo": "Open http://"}[command], args)
		return
	}
	code, out, errs := call(env, testPage, args...)
	if !slices.Contains(codes, code) {
		t.Errorf("%s shows it, and it ends with code %d:\n%s%s", where, code, out, errs)
	}
}

// saying is an output that can be waited for.
type saying struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *saying) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *saying) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// untilItSays runs a command that goes on until it is told to stop, and stops it once it is up.
func untilItSays(t *testing.T, env []string, text string, args []string) {
	t.Helper()
	if text == "" {
		text = `"listening"`
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out saying
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, env, strings.NewReader(""), &out, &out) }()
	eventually(t, "the command is up", func() bool {
		select {
		case code := <-ended:
			t.Fatalf("it has ended with code %d:\n%s", code, out.String())
		default:
		}
		return strings.Contains(out.String(), text)
	})
	if m := regexp.MustCompile(`Open (http://\S+)`).FindStringSubmatch(out.String()); m != nil {
		if status, body := get(t, m[1]); status != http.StatusOK || !strings.Contains(body, "<html") {
			t.Errorf("%s answers %d: %.300s", m[1], status, body)
		}
	}
	stop()
	select {
	case code := <-ended:
		if code != exitDone {
			t.Errorf("it ends with code %d:\n%s", code, out.String())
		}
	case <-time.After(patience):
		t.Fatalf("it does not end:\n%s", out.String())
	}
}

// TestReadmeDemo runs the README's first command to the letter, from the folder where people are when they read it.
func TestReadmeDemo(t *testing.T) {
	build := exec.Command("go", "build", "-o", os.DevNull, "./cmd/zchatproxy") // which may take its time; what follows finds it done
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command("go", "run", "./cmd/zchatproxy", "demo")
	cmd.Dir = root
	group.New(cmd) // go run does not hand signals on
	var out saying
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { group.Signal(cmd, syscall.SIGKILL) })
	address := ""
	eventually(t, "the demonstration is open", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("it has ended: %v\n%s", err, out.String())
		default:
		}
		if m := regexp.MustCompile(`Open (http://\S+)`).FindStringSubmatch(out.String()); m != nil {
			address = m[1]
		}
		return address != ""
	})
	if status, body := get(t, address); status != http.StatusOK || !strings.Contains(body, "<html") {
		t.Errorf("%s answers %d: %.300s", address, status, body)
	}
	if err := group.Signal(cmd, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatalf("it does not end:\n%s", out.String())
	}
}
