package signer_test

import (
	"errors"
	"fmt"
	"time"

	"zchatproxy/signer"
)

func Example() {
	clock := func() time.Time { return time.Unix(1_700_000_000, 0) }
	secret := signer.NewSecret("correct horse battery staple, 40 bytes!!\n")
	s, err := signer.New(signer.Config{Kind: signer.Chat, Secret: secret, Now: clock})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := s.Sign(signer.Person{ID: "user-123456", Email: "ada@example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	header, claims, problems := signer.Inspect(token, signer.Chat, secret, clock())
	fmt.Printf("%s\n%s\n%v\n", header, claims, problems)

	_, err = s.Sign(signer.Person{ID: "user-123456"})
	fmt.Println(errors.Is(err, signer.ErrNoEmail))
	fmt.Println(secret, secret.Fingerprint())
	// Output:
	// {"alg":"HS256","typ":"JWT"}
	// {"name":"ada","email":"ada@example.com","external_id":"user-123456","iat":1699999990,"exp":1700000290}
	// []
	// true
	// [redacted secret] d7642fa2
}
