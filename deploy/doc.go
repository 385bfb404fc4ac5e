// Package deploy holds no code: it is the folder of what people copy to run zchatproxy (container image, Compose,
// Kubernetes, systemd, gateways, dashboards). Its tests run or strictly decode every one of those files, so that none
// of them describes a program that no longer exists.
package deploy
