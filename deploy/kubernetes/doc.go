// Package kubernetes holds no code: its test builds the overlays beside it, decodes every manifest as the cluster's API
// would, and runs the program as the pods would. It is a module of its own, so that what it needs of Kubernetes is
// nobody else's dependency:
//
//	cd deploy/kubernetes && go test -count=1 ./...
package kubernetes
