package signer

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Sign against the obvious way to do it.

func BenchmarkSign(b *testing.B) {
	for kind := Chat; kind <= Messaging; kind++ {
		b.Run(kind.String(), func(b *testing.B) {
			s := mustNew(b, Config{Kind: kind, KeyID: "k", Secret: NewSecret(testSecret)})
			b.ReportAllocs()
			for b.Loop() {
				mustSign(b, s, testPerson)
			}
		})
	}
}

func BenchmarkSignFromFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "secret")
	writeFile(b, path, testSecret)
	s := mustNew(b, Config{Secret: SecretFile(path)})
	b.ReportAllocs()
	for b.Loop() {
		mustSign(b, s, testPerson)
	}
}

func BenchmarkSignParallel(b *testing.B) {
	s := mustNew(b, Config{Secret: NewSecret(testSecret)})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			mustSign(b, s, testPerson)
		}
	})
}

func BenchmarkNaive(b *testing.B) {
	secret := []byte(testSecret)
	b.ReportAllocs()
	for b.Loop() {
		iat := time.Now().Add(-backdate).Unix()
		_, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"name": testPerson.Name, "email": testPerson.Email, "external_id": testPerson.ID, "iat": iat, "exp": iat + 300,
		}).SignedString(secret)
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVisitor(b *testing.B) {
	s := mustNew(b, Config{Secret: NewSecret(testSecret)})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Visitor(testPerson.ID, testPerson.Email); err != nil {
			b.Fatal(err)
		}
	}
}
