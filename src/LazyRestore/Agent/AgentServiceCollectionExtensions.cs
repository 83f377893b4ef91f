using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace PostCopy.Agent;

/// <summary>Adds the destination's agent to a host.</summary>
public static class AgentServiceCollectionExtensions
{
    /// <summary>
    /// Adds the agent as a hosted service, which is also a service of its own (<see cref="AgentService"/>). The host's shutdown waits for as long as a container here is owed
    /// pages: its memory would be lost otherwise. The program must be able to be its own keeper: see <see cref="AgentOptions.KeeperProgram"/>.
    /// </summary>
    /// <remarks>
    /// When the host starts, options beyond their range throw <see cref="ArgumentOutOfRangeException"/>, and an agent that cannot listen <see cref="AgentStartException"/>.
    /// </remarks>
    public static IServiceCollection AddPostCopyAgent(this IServiceCollection services, Action<AgentOptions> configure)
    {
        services.Configure(configure);
        services.Configure<HostOptions>(static options => options.ShutdownTimeout = Timeout.InfiniteTimeSpan);
        services.AddSingleton<AgentService>();
        return services.AddHostedService(static all => all.GetRequiredService<AgentService>());
    }
}
