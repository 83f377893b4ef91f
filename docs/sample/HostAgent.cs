using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using PostCopy.Agent;
using PostCopy.Certificates;
using PostCopy.Keeper;
using PostCopy.Tracking;
using PostCopy.Transport;

namespace PostCopy.Sample;

/// <summary>Receives containers in a program of one's own; compiled with the tests, so that it stays right.</summary>
public static class HostAgent
{
    /// <summary>What the program's Main does; returns its exit code.</summary>
    public static async Task<int> MainAsync(string[] args)
    {
        // The agent starts this very program a second time as the keeper, and a migration (MoveContainer) as the injector: both before anything else. A program that is
        // not an executable of its own (dotnet app.dll) names an installed postcopy in KeeperProgram and InjectorProgram instead.
        if (args is ["keeper", var directory])
        {
            return KeeperMain.Run(directory);
        }

        if (args is ["tracker-inject"])
        {
            return InjectorMain.Run();
        }

        HostApplicationBuilder builder = Host.CreateApplicationBuilder(args);
        builder.Services.AddPostCopyAgent(static options =>
        {
            // 0 lets the kernel choose a port. As `postcopy certs` made them.
            options.Listen = AgentEndpoint.Parse("0.0.0.0:0");
            options.Tls = TlsFiles.InDirectory(TlsFiles.DefaultDirectory);
        });
        using IHost host = builder.Build();
        await host.StartAsync();
        Console.WriteLine($"listening on {host.Services.GetRequiredService<AgentService>().LocalEndPoint}");

        // Shutting down waits until every container here has its memory.
        await host.WaitForShutdownAsync();
        return 0;
    }
}
