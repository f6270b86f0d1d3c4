// The API server of the cluster that the tests start.
package main

import (
	"os"
	_ "time/tzdata" // time zones of CronJobs, whatever the machine has

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }
