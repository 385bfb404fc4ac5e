// Package compose holds no code: its test has Compose's own loader judge ../compose.yaml, and looks whether its services
// agree with each other and with zchatproxy. It is a module of its own, so that what it needs of Compose is nobody
// else's dependency:
//
//	cd deploy/compose && go test -count=1 ./...
package compose
