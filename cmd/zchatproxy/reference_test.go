package main

import (
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write CONFIGURATION.md from the struct tags")

func TestReference(t *testing.T) {
	const file = "CONFIGURATION.md"
	want := markdownReference()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is not what the struct tags say; run go test ./cmd/zchatproxy -run Reference -update", file)
	}
}

// Every variable has its line of meaning, and every _FILE form belongs to a variable.
func TestVariablesAreDocumented(t *testing.T) {
	vars := append(variablesOf(processVars{}), variablesOf(siteVars{})...)
	known := map[string]bool{}
	for _, v := range vars {
		if known[v.Key] {
			t.Errorf("%s appears twice", v.Key)
		}
		known[v.Key] = true
	}
	for _, v := range vars {
		if v.Help == "" || !strings.HasSuffix(v.Help, ".") && !strings.HasSuffix(v.Help, "…") {
			t.Errorf("%s: the help is no sentence: %q", v.Key, v.Help)
		}
		if v.FileOf != "" && (!known[v.FileOf] || v.Key != v.FileOf+"_FILE") {
			t.Errorf("%s is a form of %q, which does not fit", v.Key, v.FileOf)
		}
		if v.OneOf != "" && v.Default != "" && !strings.Contains("|"+v.OneOf+"|", "|"+v.Default+"|") {
			t.Errorf("%s: the default %q is not one of %s", v.Key, v.Default, v.OneOf)
		}
	}
	// The table that turns fields into variables names only such as exist.
	for field, key := range fieldKeys {
		if !known[key] {
			t.Errorf("field %s stands for %s, which does not exist", field, key)
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[siteVars]()) {
		if f.Tag.Get("env") == "" {
			t.Errorf("field %s has no variable", f.Name)
		}
	}
}
