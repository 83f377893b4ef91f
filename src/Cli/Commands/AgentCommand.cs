using System.CommandLine;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using PostCopy.Agent;
using PostCopy.Hosting;
using PostCopy.Transport;
using Serilog;
using Serilog.Core;
using Serilog.Events;

namespace PostCopy.Commands;

/// <summary><c>postcopy agent</c>: the destination's daemon.</summary>
internal static class AgentCommand
{
    internal static Command Create()
    {
        Option<AgentEndpoint> listen = EndpointOption.Create("--listen", "Where to listen: ADDR:PORT or unix:PATH.", "ADDR:PORT");
        listen.DefaultValueFactory = static _ => AgentEndpoint.Parse("127.0.0.1:7077");
        Option<string> stateDirectory = new("--state-dir")
        {
            Description = "Where sessions keep their state; on tmpfs.",
            HelpName = "DIR",
            DefaultValueFactory = static _ => Defaults.StateDirectory,
        };
        Option<string?> runcRoot = new("--runc-root") { Description = "runc's state directory (runc --root).", HelpName = "DIR" };
        Option<string?> bundleRoot = new("--bundle-root") { Description = "Refuse bundles outside this directory.", HelpName = "DIR" };
        Option<string> tokenFile = new("--token-file")
        {
            Description = "The token that sources must know (0600); made when it does not exist. Copy it to every source.",
            HelpName = "FILE",
            DefaultValueFactory = static _ => Defaults.TokenFile,
        };
        Option<bool> keepCpusAwake = new("--keep-cpus-awake")
        {
            Description = "Keep this host's idle CPUs awake while pages are owed: faults wait a third to a half as long, idle CPUs burn power.",
        };
        Option<bool> insecure = new("--insecure")
        {
            Description = "Listen beyond this machine without encryption. Whoever knows the token starts processes as root here, and whoever can read the wire reads the containers' memory.",
        };
        Option<string> onLoss = new("--on-loss")
        {
            Description = "When a source stays away while pages are owed. stall: tasks that touch a missing page wait. poison: they get SIGBUS. kill: the container is killed.",
            DefaultValueFactory = static _ => "stall",
        };
        onLoss.AcceptOnlyFromAmong("stall", "poison", "kill");
        Option<double> lostAfter = new("--lost-after")
        {
            Description = "After how many seconds without its source --on-loss applies.",
            HelpName = "SECONDS",
            DefaultValueFactory = static _ => new AgentOptions().LostAfter.TotalSeconds,
        };
        lostAfter.Require(static seconds => seconds > 0 && seconds <= TimeSpan.MaxValue.TotalSeconds / 2, "more than 0 seconds, and not for ever");
        Option<int> maxSessions = new("--max-sessions")
        {
            Description = "Most migrations received at the same time; further ones are refused before anything is frozen.",
            HelpName = "N",
            DefaultValueFactory = static _ => new AgentOptions().MaxSessions,
        };
        maxSessions.Require(static sessions => sessions >= 1, "1 or more");
        Option<double> stepDeadline = StepDeadlineOption.ForAgent();
        Option<long> stagingLimit = new("--staging-limit")
        {
            Description = "MiB of memory that all migrations with --pre-copy together may fill here before their freeze; 0 takes nothing before the freeze. Default: half of this host's.",
            HelpName = "MIB",
            DefaultValueFactory = static _ => new AgentOptions().StagingLimit >> 20,
        };
        Option<string[]> allow = new("--allow") { Description = "A name that a source's certificate must have; may be given more than once. Default: every host of the authorities.", HelpName = "NAME", DefaultValueFactory = static _ => [] };
        Option<bool> verbose = new("--verbose", "-v") { Description = "Log more." };

        Command command = new("agent", "Receive containers: restore them here and serve their page faults until all memory has arrived.")
        {
            listen, tokenFile, allow, bundleRoot, runcRoot, stateDirectory, keepCpusAwake, onLoss, lostAfter, stepDeadline, insecure, maxSessions, stagingLimit, verbose,
        };
        TlsOptions tls = new(command);
        tls.Exclude(command, insecure);
        command.SetAction((parsed, cancellation) => RunAsync(
            options =>
            {
                options.Listen = parsed.GetRequiredValue(listen);
                options.StateDirectory = Path.GetFullPath(parsed.GetRequiredValue(stateDirectory));
                options.RuncRoot = parsed.GetValue(runcRoot) is { } runc ? Path.GetFullPath(runc) : null;
                options.BundleRoot = parsed.GetValue(bundleRoot) is { } root ? Path.GetFullPath(root) : null;
                options.TokenFile = parsed.GetRequiredValue(tokenFile);
                options.KeepCpusAwake = parsed.GetValue(keepCpusAwake);
                options.Insecure = parsed.GetValue(insecure);
                options.MaxSessions = parsed.GetValue(maxSessions);
                options.StagingLimit = Math.Clamp(parsed.GetValue(stagingLimit), 0, long.MaxValue >> 20) << 20;
                options.OnLoss = Enum.Parse<LossPolicy>(parsed.GetRequiredValue(onLoss), ignoreCase: true);
                options.LostAfter = TimeSpan.FromSeconds(parsed.GetValue(lostAfter));
                options.StepDeadline = TimeSpan.FromSeconds(parsed.GetValue(stepDeadline));
                options.Tls = tls.Read(parsed, options.Listen, options.Insecure);
                foreach (string name in parsed.GetRequiredValue(allow))
                {
                    options.AllowedNames.Add(name);
                }
            },
            parsed.GetValue(verbose)));
        return command;
    }

    private static async Task<int> RunAsync(Action<AgentOptions> configure, bool verbose)
    {
        using Logger logger = SerilogSetup.Create(verbose, LogEventLevel.Information);
        HostApplicationBuilder builder = new(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Services.AddSerilog(logger);
        builder.Services.AddSystemd();
        builder.Services.AddPostCopyAgent(configure);
        using IHost host = builder.Build();
        using HangUp hangUp = new(host.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication);
        try
        {
            await host.RunAsync().ConfigureAwait(false);
            return 0;
        }
        catch (AgentStartException e)
        {
            await Console.Error.WriteLineAsync($"postcopy agent: {e.Message}").ConfigureAwait(false);
            return ExitCodes.CannotHere;
        }
    }
}
