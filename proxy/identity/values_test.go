package identity

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestDecodeValue(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"ASCII", "Ann Lee", "Ann Lee"},
		{"UTF-8", "Zoë 日本", "Zoë 日本"},
		{"Latin-1", "J\xf6rg M\xfcller", "Jörg Müller"},
		{"Latin-1 that looks like UTF-8 is UTF-8", "\xc3\xb6", "ö"},
		{"cut UTF-8 is Latin-1", "a\xc3", "aÃ"},
		{"Q", "=?utf-8?q?J=C3=B6rg_M=C3=BCller?=", "Jörg Müller"},
		{"B", "=?UTF-8?B?5pel5pys?=", "日本"},
		{"several words", "=?utf-8?q?J=C3=B6rg?= =?utf-8?q?_M=C3=BCller?=", "Jörg Müller"},
		{"several words, much space", "=?utf-8?q?a=C3=B6?=  \t =?utf-8?q?b?=", "aöb"},
		{"words among text", "Dr. =?utf-8?q?J=C3=B6rg?=  Lee", "Dr. Jörg  Lee"},
		{"Latin-1 word", "=?iso-8859-1?q?J=F6rg?=", "Jörg"},
		{"word of another charset", "=?koi8-r?b?6dfBzg==?=", "Иван"},
		{"Shift_JIS", "=?shift_jis?b?k/qWew==?=", "日本"},
		{"word with a language", "=?utf-8*de?q?J=C3=B6rg?=", "Jörg"},
		{"part of a token", "x=?utf-8?q?eve?=", "x=?utf-8?q?eve?="},
		{"word before more", "=?utf-8?q?victim?=@evil.example", "=?utf-8?q?victim?=@evil.example"},
		{"unknown charset", "=?x-none?q?eve?=", "=?x-none?q?eve?="},
		{"unknown encoding", "=?utf-8?x?eve?=", "=?utf-8?x?eve?="},
		{"broken Base64", "=?utf-8?b?!!?=", "=?utf-8?b?!!?="},
		{"no UTF-8 inside", "=?utf-8?q?=FF?=", "=?utf-8?q?=FF?="},
		{"not closed", "=?utf-8?q?eve", "=?utf-8?q?eve"},
		{"a question", "who=?", "who=?"},
		{"percent signs stay", "J%C3%B6rg 100%", "J%C3%B6rg 100%"},
		{"decoded once", "=?utf-8?q?=3D=3Futf-8=3Fq=3Feve=3F=3D?=", "=?utf-8?q?eve?="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := decodeValue(tt.raw); got != tt.want {
				t.Errorf("decodeValue(%q) = %q, want %q", tt.raw, got, tt.want)
			}
		})
	}
}

func TestCleanName(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"trimmed", " \u00a0Ann Lee\u2003", "Ann Lee"},
		{"control characters", "Ann\x00 \x1b[31mLee\x7f\u0085", "Ann [31mLee"},
		{"line ends", "Ann\r\nLee\u2028", "AnnLee"},
		{"overrides and isolates", "\u202eeel nnA\u202c \u2067x\u2069", "eel nnA x"},
		{"direction marks stay", "עדי\u200f (a)", "עדי\u200f (a)"},
		{"joiners stay", "👩\u200d💻", "👩\u200d💻"},
		{"composed", "Jo\u0308rg", "Jörg"},
		{"cut", strings.Repeat("é", 300), strings.Repeat("é", 255)},
		{"cut, composed first", strings.Repeat("e\u0301", 255), strings.Repeat("é", 255)},
		{"cut and trimmed", strings.Repeat("a", 254) + " b", strings.Repeat("a", 254)},
		{"placeholder", "(null)", ""},
		{"Mr Null", "Null", "Null"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := cleanName(tt.raw); got != tt.want {
				t.Errorf("cleanName(%q) = %q, want %q", tt.raw, got, tt.want)
			}
		})
	}
}

func TestCleanEmail(t *testing.T) {
	long := strings.Repeat("a", 243) + "@example.com"
	for raw, want := range map[string]string{
		" Ann@Example.COM ":     "Ann@Example.COM", // letter case is the owner's
		"ann\u0085@example.com": "",
		"ann@example.com\u00a0": "ann@example.com",
		"jörg@example.com":      "jörg@example.com",
		"ann":                   "ann",
		"-":                     "",
		"a@b@c":                 "",
		"\u202emoc.elpmaxe@nna": "",
		long[1:]:                long[1:],
		long:                    "",
		strings.Repeat("é", 242) + "@example.com": strings.Repeat("é", 242) + "@example.com",
	} {
		got, refusal := cleanEmail(raw)
		if got != want {
			t.Errorf("cleanEmail(%q) = %q, want %q", raw, got, want)
		}
		if dropped := want == "" && raw != "-"; dropped != (refusal != "") {
			t.Errorf("cleanEmail(%q) says %q", raw, refusal)
		}
	}
}

// FuzzValue: whatever a header holds, what becomes of it is clean, short enough, and cleaning it again changes nothing.
func FuzzValue(f *testing.F) {
	for _, s := range []string{"Ann", "J\xf6rg", "=?utf-8?q?J=C3=B6rg?= =?utf-8?b?5pel?=", "=?utf-8?q?\u202e?=", "a\u0308\u202e\x00", "a@b@c",
		"=?iso-2022-jp?b?GyRC?=", "=?utf-16?b?AAA=?=", strings.Repeat("é", 300), "(null)", "=?utf-8?q?=00=0A?="} {
		f.Add(s, "user-")
	}
	f.Fuzz(func(t *testing.T, raw, prefix string) {
		if checkPrefix(prefix) != nil || !utf8.ValidString(prefix) {
			return
		}
		text := decodeValue(raw)
		if !utf8.ValidString(text) {
			t.Fatalf("decodeValue(%q) = %q", raw, text)
		}
		id, refusal := cleanID(text, prefix)
		if refusal != "" && id != "" {
			t.Fatalf("an id and a refusal: %q, %q", id, refusal)
		}
		if id != "" && (!strings.HasPrefix(id, prefix) || len(id) == len(prefix)) {
			t.Fatalf("cleanID(%q, %q) = %q", text, prefix, id)
		}
		email, _ := cleanEmail(text)
		name := cleanName(text)
		for i, s := range []string{strings.TrimPrefix(id, prefix), email, name} {
			what := []string{"id", "email", "name"}[i]
			if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsFunc(s, isReordering) {
				t.Fatalf("%s of %q is not clean: %q", what, raw, s)
			}
			if s != strings.TrimSpace(s) || utf8.RuneCountInString(s) > 255 {
				t.Fatalf("%s of %q is not trimmed, or too long: %q", what, raw, s)
			}
		}
		if strings.Count(email, "@") > 1 {
			t.Fatalf("email of %q: %q", raw, email)
		}
		if again := cleanName(name); again != name {
			t.Fatalf("the name of %q is %q, then %q", raw, name, again)
		}
	})
}
